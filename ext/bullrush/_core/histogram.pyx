"""Durations counted in buckets that grow with the value: 8 kB whatever it has seen, 3 % off at most."""

cimport cython
from libc.math cimport ceil
from libc.string cimport memset

from bullrush._core.codec cimport pack_value, unpack_value

from bullrush.errors import CodecError

cdef long long LARGEST = (<unsigned long long> 1 << 63) - 1


cdef long long lowest(int bucket) noexcept nogil:
    """The smallest value that falls into a bucket; one past the largest for the bucket behind the last."""
    cdef int shift, part
    if bucket < EXACT:
        return bucket
    shift = (bucket - EXACT) // PER_OCTAVE + 1
    part = (bucket - EXACT) % PER_OCTAVE
    if part < 2:
        return <long long> (32 + part) << (shift - 1)
    return <long long> (15 + part) << shift


cdef double middle(int bucket) noexcept nogil:
    """The value that is off by the same ratio from both ends of a bucket."""
    cdef double low = <double> lowest(bucket)
    cdef double high = <double> (LARGEST if bucket == BUCKETS - 1 else lowest(bucket + 1) - 1)
    return 2 * low * high / (low + high) if low else 0.0


@cython.final
cdef class Histogram:
    """Counts durations in microseconds, from 0 to 2**63 - 1; negative ones (a clock was set back) count as 0.

    Quantiles are off by 3 % at most, and exact below 32 µs. `count` is how many were recorded, `max` the
    largest. Merging loses nothing: all histograms have the same buckets. Guarded by the GIL, not by a lock.
    """

    def record(self, long long microseconds):
        """Count one duration in microseconds."""
        self.add(microseconds)

    @property
    def mean(self):
        """The mean in microseconds, from the sum and not from buckets; 0.0 when empty."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, double q):
        """The duration in microseconds that a share `q` of all (0 to 1) does not exceed; 0.0 when empty.

        Raises ValueError for a `q` outside 0 to 1.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q={q!r} is not between 0 and 1")
        if not self.count:
            return 0.0
        return self.value_at(max(1, <long long> ceil(q * self.count)))

    cdef double value_at(self, long long rank) noexcept nogil:
        """The duration at a place in order, 1 the shortest; the last one is known exactly."""
        cdef long long seen = 0
        cdef int bucket
        if rank >= self.count:
            return <double> self.max
        for bucket in range(BUCKETS):
            seen += self.counts[bucket]
            if seen >= rank:
                break
        return min(middle(bucket), <double> self.max)

    def merge(self, Histogram other not None):
        """Add all that another histogram has counted; that one stays as it is."""
        cdef int bucket
        for bucket in range(BUCKETS):
            self.counts[bucket] += other.counts[bucket]
        self.count += other.count
        self.max = max(self.max, other.max)
        self.total += other.total

    def reset(self):
        """Forget everything."""
        memset(self.counts, 0, sizeof(self.counts))
        self.count = 0
        self.max = 0
        self.total = 0.0

    def used(self):
        """Return how many were counted in each bucket in use, by its number."""
        cdef int bucket
        return {bucket: self.counts[bucket] for bucket in range(BUCKETS) if self.counts[bucket]}

    @staticmethod
    def bounds(int bucket):
        """Return the smallest and the largest value of a bucket; ValueError where there is none."""
        if not 0 <= bucket < BUCKETS:
            raise ValueError(f"there is no bucket {bucket}")
        return lowest(bucket), LARGEST if bucket == BUCKETS - 1 else lowest(bucket + 1) - 1

    def to_bytes(self):
        """Save it: MessagePack of sum, max, and bucket and count of every bucket in use."""
        cdef int bucket
        saved = [self.total, self.max]
        for bucket in range(BUCKETS):
            if self.counts[bucket]:
                saved.append(bucket)
                saved.append(self.counts[bucket])
        return pack_value(saved)

    @staticmethod
    def from_bytes(data):
        """Make a histogram from what `to_bytes` saved. Raises CodecError if it is anything else."""
        cdef Histogram result = Histogram()
        try:
            result.fill(unpack_value(data))
        except (TypeError, ValueError, OverflowError) as error:
            raise CodecError(f"not a saved histogram: {error}") from error
        return result

    cdef int fill(self, object saved) except -1:
        cdef long long count
        cdef int index, bucket
        if not isinstance(saved, list) or len(saved) < 2 or len(saved) % 2:
            raise ValueError("it is not a list of sum, max and pairs")
        self.total = saved[0]
        self.max = saved[1]
        if not self.total >= 0 or self.max < 0:
            raise ValueError(f"sum {self.total} or max {self.max} is impossible")
        for index in range(2, len(saved), 2):
            bucket = saved[index]
            count = saved[index + 1]
            if not 0 <= bucket < BUCKETS or count < 0 or count > LARGEST - self.count:
                raise ValueError(f"a bucket {bucket} with a count of {count} is impossible")
            self.counts[bucket] += count
            self.count += count
        return 0
