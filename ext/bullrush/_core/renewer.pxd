"""What the thread that renews and the rest of the process share, behind one lock."""

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass

cdef enum:
    REPLY_ROOM = 256


cdef struct Shared:
    pthread_mutex_t lock
    pthread_t thread
    int bell                    # read end of a pipe: a byte says "look again"
    bint stop
    # What to send, how often, and until when. Times are seconds of the monotonic clock.
    unsigned char* frame
    size_t length
    long long round             # counts frames: the answer to an older one says nothing of this one
    bint active
    double interval
    double reply_limit
    double hang_limit
    double heartbeat
    double renewed_at
    # What the thread says.
    long long renewals
    bint lost
    double hung_for
    # The socket, -1: none. While the thread runs nobody else closes it.
    int plug
    unsigned char* out
    size_t size                 # 0: no call is under way
    size_t sent
    double sent_at
    long long sent_round
    char[REPLY_ROOM] reply
    size_t got


cdef class Renewer:
    cdef Shared* _shared
    cdef int _ring              # write end of the pipe
    cdef int _pid
    cdef bint _running

    cdef bint _usable(self) noexcept
    cdef _wake(self)
