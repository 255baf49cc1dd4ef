/* Preloaded into a program, lets its wall clock run apart from the machine's: every reading of it is moved by the
   nanoseconds that stand, as one 64-bit integer, in the file that SKEW_FILE names. The file is mapped, so that whoever
   writes into it moves the clock of a running program. Monotonic clocks are left alone: they never jump. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static const _Atomic int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("SKEW_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) offset = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime) begin(); /* another library's constructor asks before ours has run */
    int answer = real_clock_gettime(clock, now);
    if (answer || !offset || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return answer;
    int64_t moved = now->tv_sec * SECOND + now->tv_nsec + atomic_load(offset);
    now->tv_sec = moved / SECOND;
    now->tv_nsec = moved % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec moved;
    int answer = clock_gettime(CLOCK_REALTIME, &moved);
    now->tv_sec = moved.tv_sec;
    now->tv_usec = moved.tv_nsec / 1000;
    return answer;
}

time_t time(time_t *seconds) {
    struct timespec moved;
    clock_gettime(CLOCK_REALTIME, &moved);
    if (seconds) *seconds = moved.tv_sec;
    return moved.tv_sec;
}
