# cython: linetrace=False, profile=False
"""Renew a lease from a thread that never needs the interpreter's lock.

A handler inside C code that keeps the lock stops every Python thread, that of the lease as well; its worker
is healthy all the same. This thread belongs to the system, not to Python, and touches nothing of Python's: a
socket that is connected and logged in, the bytes of one call, and a few times. It sends the call when nobody
has renewed for `interval`, unless the loop has not turned for `hang_limit`. It cannot connect: a socket that
breaks is let go, and Python brings another.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memcmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close, getpid, read, write

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t* lock, void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* lock)
    int pthread_mutex_lock(pthread_mutex_t* lock)
    int pthread_mutex_unlock(pthread_mutex_t* lock)
    int pthread_create(
        pthread_t* thread, void* attributes, void* (*work)(void*) noexcept nogil, void* argument)
    int pthread_join(pthread_t thread, void** result)

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int SIG_SETMASK
    int sigfillset(sigset_t* signals)
    int pthread_sigmask(int how, sigset_t* signals, sigset_t* before)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    short POLLOUT
    int poll(pollfd* watched, unsigned long count, int wait)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int plug, const void* data, size_t length, int flags)
    ssize_t recv(int plug, void* data, size_t room, int flags)

# How often a loop that hangs is looked at, and the longest wait without a look (s).
cdef double HUNG_LOOK = 0.1
cdef double LONGEST = 60.0


cdef double clock() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec + at.tv_nsec * 1e-9


# The thread. All of it but the wait itself happens with the lock held; nothing in there blocks.

cdef void* keep(void* given) noexcept nogil:
    """Renew until told to stop."""
    cdef Shared* shared = <Shared*>given
    cdef pollfd[2] watched
    cdef char[64] rings
    cdef int wait
    while True:
        pthread_mutex_lock(&shared.lock)
        if shared.stop:
            pthread_mutex_unlock(&shared.lock)
            return NULL
        wait = milliseconds(go_on(shared, clock()))
        watched[0].fd, watched[0].events, watched[0].revents = shared.bell, POLLIN, 0
        watched[1].fd, watched[1].events, watched[1].revents = shared.plug, POLLIN, 0
        if shared.sent < shared.size:
            watched[1].events |= POLLOUT
        pthread_mutex_unlock(&shared.lock)
        if poll(watched, 2, wait) <= 0:
            continue
        if watched[0].revents:
            read(watched[0].fd, rings, sizeof(rings))
        if watched[1].fd >= 0 and watched[1].revents:
            pthread_mutex_lock(&shared.lock)
            if shared.plug == watched[1].fd:
                move(shared)
            pthread_mutex_unlock(&shared.lock)


cdef int milliseconds(double seconds) noexcept nogil:
    """For poll: rounded up, so that what is waited for is due; no limit for a negative number."""
    if seconds < 0:
        return -1
    return <int>(min(seconds, LONGEST) * 1000) + 1


cdef double go_on(Shared* shared, double now) noexcept nogil:
    """Do what is due and return how long nothing else will be; -1: until somebody rings."""
    cdef double left
    if shared.plug < 0:
        return -1
    if shared.size:
        left = shared.sent_at + shared.reply_limit - now
        if left > 0:
            return left
        let_go(shared)
        return -1
    if not shared.active:
        return -1
    left = shared.renewed_at + shared.interval - now
    if left > 0:
        return left
    if now - shared.heartbeat > shared.hang_limit:
        shared.hung_for = now - shared.heartbeat
        return HUNG_LOOK
    return begin(shared, now)


cdef double begin(Shared* shared, double now) noexcept nogil:
    """Send the call; the frame may be replaced before all of it is sent, so it is copied."""
    shared.out = <unsigned char*>malloc(shared.length)
    if shared.out == NULL:
        return HUNG_LOOK
    memcpy(shared.out, shared.frame, shared.length)
    shared.size, shared.sent, shared.got = shared.length, 0, 0
    shared.sent_at, shared.sent_round = now, shared.round
    move(shared)
    return 0    # look again: the answer may be there already, and the socket may be gone


cdef void let_go(Shared* shared) noexcept nogil:
    """The socket is of no use any more: Python sees that it is gone, and brings another one."""
    if shared.plug >= 0:
        close(shared.plug)
    shared.plug = -1
    end_call(shared)


cdef void end_call(Shared* shared) noexcept nogil:
    free(shared.out)
    shared.out = NULL
    shared.size = shared.sent = shared.got = 0


cdef void move(Shared* shared) noexcept nogil:
    """Send and receive what can be without waiting."""
    cdef ssize_t count
    if shared.sent < shared.size:
        count = send(shared.plug, shared.out + shared.sent, shared.size - shared.sent, 0)
        if count >= 0:
            shared.sent += count
        elif errno != EAGAIN and errno != EINTR:
            let_go(shared)
            return
    count = recv(shared.plug, shared.reply + shared.got, REPLY_ROOM - shared.got, 0)
    if count < 0 and (errno == EAGAIN or errno == EINTR):
        return
    shared.got += max(count, 0)
    if count <= 0 or not shared.size:
        let_go(shared)      # the end of the connection, or a reply that nobody asked for
    elif shared.reply[shared.got - 1] == c"\n":
        judge(shared)
    elif shared.got == REPLY_ROOM:
        let_go(shared)


cdef void judge(Shared* shared) noexcept nogil:
    """The time: renewed. LEASE: others have the jobs. Anything else may be the word of another server."""
    cdef bint current = shared.sent_round == shared.round
    if shared.reply[0] == c":":
        if current and shared.sent_at > shared.renewed_at:
            shared.renewed_at = shared.sent_at
        shared.renewals += 1
        end_call(shared)
    elif shared.got > 6 and memcmp(shared.reply, b"-LEASE", 6) == 0:
        if current:
            shared.lost, shared.active = True, False
        end_call(shared)
    else:
        let_go(shared)


cdef class Renewer:
    """The thread, as Python sees it.

    Nothing here blocks, or does anything after `stop` or in a forked child.
    """

    def __cinit__(self):
        self._shared = NULL
        self._running = False

    def __init__(self, *, double interval, double reply_limit, double hang_limit):
        cdef sigset_t all_signals, before
        cdef int bell
        if self._shared != NULL:
            raise RuntimeError("a renewer starts once; make another one")
        self._shared = <Shared*>calloc(1, sizeof(Shared))
        if self._shared == NULL:
            raise MemoryError
        pthread_mutex_init(&self._shared.lock, NULL)
        bell, self._ring = os.pipe()
        os.set_blocking(bell, False)
        os.set_blocking(self._ring, False)
        self._shared.bell, self._shared.plug = bell, -1
        self._shared.interval, self._shared.reply_limit = interval, reply_limit
        self._shared.hang_limit = hang_limit
        self._pid = getpid()
        # Signals are for Python's threads; that of a peer that is gone would end the process.
        sigfillset(&all_signals)
        pthread_sigmask(SIG_SETMASK, &all_signals, &before)
        failed = pthread_create(&self._shared.thread, NULL, keep, self._shared)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if failed:
            os.close(bell)
            os.close(self._ring)
            raise RuntimeError(f"no thread can be started to renew leases (error {failed}); nothing was sent")
        self._running = True

    cdef bint _usable(self) noexcept:
        return self._running and self._pid == getpid()

    cdef _wake(self):
        """A full pipe has woken it already."""
        write(self._ring, b"\0", 1)

    def attach(self, plug):
        """Take over a socket that is connected and logged in; refused (and closed) while there is one."""
        if not self._usable() or self.attached:
            plug.close()
            return
        plug.setblocking(False)
        cdef int number = plug.detach()
        with nogil:
            pthread_mutex_lock(&self._shared.lock)
            self._shared.plug = number
            pthread_mutex_unlock(&self._shared.lock)
        self._wake()

    @property
    def attached(self):
        """Say whether it has a socket that works as far as it knows."""
        return self._usable() and self._shared.plug >= 0

    def use(self, bytes frame not None, double renewed_at):
        """Send this from now on; the lease that it renews was renewed at that time."""
        cdef size_t length = <size_t>len(frame)
        cdef const unsigned char* source = frame
        cdef unsigned char* copy
        if not self._usable():
            return
        if not length:
            raise ValueError("an empty frame renews nothing")
        copy = <unsigned char*>malloc(length)
        if copy == NULL:
            raise MemoryError
        memcpy(copy, source, length)
        with nogil:
            pthread_mutex_lock(&self._shared.lock)
            free(self._shared.frame)
            self._shared.frame, self._shared.length = copy, length
            self._shared.round += 1
            self._shared.active, self._shared.lost = True, False
            self._shared.renewed_at = self._shared.heartbeat = renewed_at
            pthread_mutex_unlock(&self._shared.lock)
        self._wake()

    def tick(self, double heartbeat, double renewed_at):
        """The loop turned at that time, and the lease was renewed at that one by others."""
        if not self._usable():
            return
        with nogil:
            pthread_mutex_lock(&self._shared.lock)
            if heartbeat > self._shared.heartbeat:
                self._shared.heartbeat = heartbeat
            if renewed_at > self._shared.renewed_at:
                self._shared.renewed_at = renewed_at
            pthread_mutex_unlock(&self._shared.lock)

    @property
    def renewed_at(self):
        """When the last renewal that was acknowledged was sent; 0: none."""
        cdef double renewed_at
        if self._shared == NULL or self._pid != getpid():
            return 0.0
        with nogil:
            pthread_mutex_lock(&self._shared.lock)
            renewed_at = self._shared.renewed_at
            pthread_mutex_unlock(&self._shared.lock)
        return renewed_at

    @property
    def renewals(self):
        """How many renewals were acknowledged."""
        return 0 if self._shared == NULL else self._shared.renewals

    def take_lost(self):
        """Say, once, whether the server said that others have the jobs."""
        cdef bint lost
        if not self._usable():
            return False
        with nogil:
            pthread_mutex_lock(&self._shared.lock)
            lost, self._shared.lost = self._shared.lost, False
            pthread_mutex_unlock(&self._shared.lock)
        return lost

    def take_hung(self):
        """Return, once, for how long (s) the loop had not turned when a renewal was left out; 0: none was."""
        cdef double hung_for
        if not self._usable():
            return 0.0
        with nogil:
            pthread_mutex_lock(&self._shared.lock)
            hung_for, self._shared.hung_for = self._shared.hung_for, 0
            pthread_mutex_unlock(&self._shared.lock)
        return hung_for

    def stop(self):
        """End the thread and close the socket."""
        if self._usable():
            self._running = False
            end(self._shared, self._ring)

    def __dealloc__(self):
        if self._shared == NULL:
            return
        if self._running:
            # A forked child has no such thread, and its lock may be held for ever: the memory is left alone.
            if self._pid != getpid():
                return
            end(self._shared, self._ring)
        pthread_mutex_destroy(&self._shared.lock)
        free(self._shared.frame)
        free(self._shared)


cdef void end(Shared* shared, int ring) noexcept:
    """Let the thread end, which never waits for anything but a ring; then nobody uses what it left open."""
    with nogil:
        pthread_mutex_lock(&shared.lock)
        shared.stop = True
        pthread_mutex_unlock(&shared.lock)
        write(ring, b"\0", 1)
        pthread_join(shared.thread, NULL)
        let_go(shared)
        close(shared.bell)
        close(ring)
