"""A histogram of durations in buckets that grow with the value."""

cimport cython

cdef enum:
    EXACT = 32          # values below have a bucket each
    PER_OCTAVE = 17     # buckets from one power of two to the next
    BUCKETS = 1018      # up to 2**63 - 1: EXACT + 58 octaves


cdef extern from *:
    int leading_zeros "__builtin_clzll" (unsigned long long value) noexcept nogil


cdef inline int bucket_of(long long value) noexcept nogil:
    """Sixteen equal parts to an octave, the first one halved: it is the widest, measured by its values."""
    cdef int shift, part
    if value < EXACT:
        return <int> value if value > 0 else 0
    shift = 59 - leading_zeros(<unsigned long long> value)
    part = <int> (value >> shift) & 15
    if part == 0:
        part = <int> (value >> (shift - 1)) & 1
    else:
        part += 1
    return EXACT + PER_OCTAVE * (shift - 1) + part


@cython.final
cdef class Histogram:
    cdef long long[BUCKETS] counts
    cdef readonly long long count
    cdef readonly long long max
    cdef double total

    cdef inline void add(self, long long microseconds) noexcept nogil:
        self.counts[bucket_of(microseconds)] += 1
        self.count += 1
        if microseconds > self.max:
            self.max = microseconds
        if microseconds > 0:
            self.total += <double> microseconds

    cdef double value_at(self, long long rank) noexcept nogil
    cdef int fill(self, object saved) except -1
