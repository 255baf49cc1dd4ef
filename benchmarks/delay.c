/* A TCP relay that keeps every byte back for a fixed time: a network with that latency, and no other limit.
 *
 *   delay LISTEN_PORT TARGET_PORT MICROSECONDS      on 127.0.0.1; prints "ready"; ends when its standard input does
 *
 * Data that arrives is stamped and queued; it leaves when its time has come, so throughput is not touched. One thread,
 * poll() with nanoseconds: some 2 us a chunk, so that it costs the core that it shares little.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536, MAX_PIPES = 512, MAX_QUEUED = 64 << 20 };

struct chunk {
    struct chunk *next;
    long long due;
    size_t size, sent;
    char bytes[];
};

/* One direction of a connection: what `from` said, on its way to `to`. */
struct pipe {
    int from, to, open;
    size_t queued;
    struct chunk *first, *last;
};

static struct pipe pipes[MAX_PIPES];
static int used;
static long long delay_ns;

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void set_up(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void admit(int listener, int target) {
    int client = accept(listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = loopback(target);
    if (client < 0 || server < 0 || used + 2 > MAX_PIPES || connect(server, (struct sockaddr *)&a, sizeof a)) {
        perror("delay: a connection");
        exit(1);
    }
    set_up(client);
    set_up(server);
    pipes[used++] = (struct pipe){.from = client, .to = server, .open = 1};
    pipes[used++] = (struct pipe){.from = server, .to = client, .open = 1};
}

static void take(struct pipe *p) {
    struct chunk *c = malloc(sizeof *c + CHUNK);
    ssize_t n = c ? read(p->from, c->bytes, CHUNK) : -1;
    if (n <= 0) {
        free(c);
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            p->open = 0;
        return;
    }
    c->next = NULL;
    c->due = now_ns() + delay_ns;
    c->size = n;
    c->sent = 0;
    if (p->last)
        p->last->next = c;
    else
        p->first = c;
    p->last = c;
    p->queued += n;
}

static void give(struct pipe *p, long long now) {
    while (p->first && p->first->due <= now) {
        struct chunk *c = p->first;
        ssize_t n = send(p->to, c->bytes + c->sent, c->size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            p->open = 0;
            n = c->size - c->sent;
        }
        c->sent += n;
        if (c->sent < c->size)
            return;
        p->first = c->next;
        if (!p->first)
            p->last = NULL;
        p->queued -= c->size;
        free(c);
    }
    if (!p->open && !p->first && p->to >= 0) {
        shutdown(p->to, SHUT_WR);
        p->to = -1;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: delay LISTEN_PORT TARGET_PORT MICROSECONDS\n");
        return 2;
    }
    int target = atoi(argv[2]), on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    delay_ns = atoll(argv[3]) * 1000;
    struct sockaddr_in a = loopback(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 64)) {
        perror("delay");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    static struct pollfd fds[MAX_PIPES + 2];
    for (;;) {
        long long now = now_ns(), next = -1;
        for (int i = 0; i < used; i++) {
            struct pipe *p = &pipes[i];
            give(p, now);
            fds[i].fd = p->open && p->queued < MAX_QUEUED ? p->from : -1;
            fds[i].events = POLLIN;
            if (p->first && (next < 0 || p->first->due < next))
                next = p->first->due;
        }
        fds[used] = (struct pollfd){.fd = listener, .events = POLLIN};
        fds[used + 1] = (struct pollfd){.fd = 0, .events = POLLIN};
        long long left = next < 0 ? 1000000000LL : next - now_ns();
        /* A socket that takes no more is looked at again soon; it is not what is measured. */
        struct timespec t = {left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 20000};
        if (ppoll(fds, used + 2, &t, NULL) < 0 && errno != EINTR)
            return 1;
        if (fds[used + 1].revents)
            return 0;
        int before = used;
        if (fds[used].revents)
            admit(listener, target);
        for (int i = 0; i < before; i++)
            if (fds[i].fd >= 0 && fds[i].revents)
                take(&pipes[i]);
    }
}
