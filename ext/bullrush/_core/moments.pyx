"""Dates, times and durations as extension payloads.

Numbers are big-endian. The layouts, all of a fixed size but for a zone's name:

    date      year u16, month u8, day u8
    clock     hour u8, minute u8, second u8, then u24: microsecond, with fold in the top bit
    time      clock [zone]            without a zone: naive
    datetime  date clock              naive (code 5)
    datetime  date clock [zone]       aware (code 9), in local time; without a zone: UTC
    zone      offset from UTC i64 in microseconds, then the name of the IANA zone in ASCII, if there is one
    timedelta microseconds, i64; or i128 beyond 292,000 years

A datetime carries its offset *and* the name, because the two can part: where the reader's time zone rules
give another offset than the writer's, or lack the name, the offset wins and the instant stays the same.
Names that fixed offsets have been given ("CET") are not kept.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.datetime cimport (
    PyDate_Check, PyDateTime_Check, PyDelta_Check, PyTime_Check, date_day, date_month, date_new, date_year,
    datetime_fold, datetime_hour, datetime_microsecond, datetime_minute, datetime_new, datetime_second,
    import_datetime, time_fold, time_hour, time_microsecond, time_minute, time_new, time_second,
    timedelta_days, timedelta_microseconds, timedelta_new, timedelta_seconds,
)
from libc.limits cimport LLONG_MIN

from bullrush._core.msgpack_writer cimport (
    AWARE_DATETIME_CODE, DATE_CODE, NAIVE_DATETIME_CODE, TIME_CODE, TIMEDELTA_CODE, Writer, load, store,
    write_extension_head, write_payload, write_raw,
)

from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import_datetime()

cdef enum:
    DATE_BYTES = 4
    CLOCK_BYTES = 6
    DATETIME_BYTES = 10
    OFFSET_BYTES = 8
    EXACT_DAYS = 106_751_990  # durations shorter than this fit 64 bits of microseconds

cdef long long DAY = 86_400_000_000
cdef long long UNKNOWN = LLONG_MIN  # the offset of a time whose zone has one only on a date
cdef object UTC = timezone.utc
cdef object MICROSECOND = timedelta(microseconds=1)


cdef bint is_moment(object value) noexcept:
    return PyDate_Check(value) or PyDelta_Check(value) or PyTime_Check(value)


cdef int write_moment(Writer* out, object value) except -1:
    """Write a date, datetime, time or timedelta (subclasses come back as these)."""
    if PyDateTime_Check(value):
        return write_datetime(out, value)
    if PyDate_Check(value):
        return write_date(out, value)
    if PyTime_Check(value):
        return write_time(out, value)
    return write_timedelta(out, value)


cdef void store_date(unsigned char* target, object value) noexcept:
    store(target, date_year(value), 2)
    target[2] = <unsigned char> date_month(value)
    target[3] = <unsigned char> date_day(value)


cdef void store_clock(
    unsigned char* target, int hour, int minute, int second, int microsecond, int fold
) noexcept nogil:
    target[0] = <unsigned char> hour
    target[1] = <unsigned char> minute
    target[2] = <unsigned char> second
    store(target + 3, microsecond | (fold << 23), 3)


cdef int write_date(Writer* out, object value) except -1:
    cdef unsigned char[DATE_BYTES] payload
    store_date(payload, value)
    write_extension_head(out, DATE_CODE, DATE_BYTES)
    return write_raw(out, payload, DATE_BYTES)


cdef int write_datetime(Writer* out, object value) except -1:
    cdef unsigned char[DATETIME_BYTES] payload
    zone = value.tzinfo
    tail = b"" if zone is None or zone is UTC else zone_tail(value, zone)
    store_date(payload, value)
    store_clock(
        payload + DATE_BYTES, datetime_hour(value), datetime_minute(value), datetime_second(value),
        datetime_microsecond(value), datetime_fold(value),
    )
    code = NAIVE_DATETIME_CODE if zone is None else AWARE_DATETIME_CODE
    write_extension_head(out, code, DATETIME_BYTES + len(tail))
    write_raw(out, payload, DATETIME_BYTES)
    return write_raw(out, <const char*> tail, len(tail))


cdef int write_time(Writer* out, object value) except -1:
    cdef unsigned char[CLOCK_BYTES] payload
    zone = value.tzinfo
    tail = b"" if zone is None else zone_tail(value, zone)
    store_clock(
        payload, time_hour(value), time_minute(value), time_second(value), time_microsecond(value),
        time_fold(value),
    )
    write_extension_head(out, TIME_CODE, CLOCK_BYTES + len(tail))
    write_raw(out, payload, CLOCK_BYTES)
    return write_raw(out, <const char*> tail, len(tail))


cdef int write_timedelta(Writer* out, object value) except -1:
    cdef unsigned char[OFFSET_BYTES] payload
    if not -EXACT_DAYS < timedelta_days(value) < EXACT_DAYS:
        microseconds = value // MICROSECOND
        return write_payload(out, TIMEDELTA_CODE, microseconds.to_bytes(16, "big", signed=True))
    store(payload, microseconds_of(value), OFFSET_BYTES)
    write_extension_head(out, TIMEDELTA_CODE, OFFSET_BYTES)
    return write_raw(out, payload, OFFSET_BYTES)


cdef long long microseconds_of(object value) noexcept:
    cdef long long seconds = timedelta_seconds(value)
    return timedelta_days(value) * DAY + seconds * 1_000_000 + timedelta_microseconds(value)


cdef bytes zone_tail(object value, object zone):
    cdef unsigned char[OFFSET_BYTES] payload
    key = zone.key if isinstance(zone, ZoneInfo) else None
    offset = value.utcoffset()
    if offset is None and (key is None or PyDateTime_Check(value)):
        raise ValueError(f"its time zone {zone!r:.80} gives no UTC offset; use a ZoneInfo or a fixed offset")
    store(payload, UNKNOWN if offset is None else microseconds_of(offset), OFFSET_BYTES)
    return PyBytes_FromStringAndSize(<char*> payload, OFFSET_BYTES) + (key or "").encode("ascii")


# --- reading

cdef object read_moment(int code, const unsigned char* payload, Py_ssize_t size):
    """Read the payload of one of the five codes; ValueError or OverflowError if it is none."""
    if code == DATE_CODE:
        need(size == DATE_BYTES)
        return date_new(<int> load(payload, 2), payload[2], payload[3])
    if code == TIME_CODE:
        need(size == CLOCK_BYTES or size >= CLOCK_BYTES + OFFSET_BYTES)
        return read_time(payload, size)
    if code == TIMEDELTA_CODE:
        need(size == OFFSET_BYTES or size == 16)
        return read_timedelta(payload, size)
    if code == NAIVE_DATETIME_CODE:
        need(size == DATETIME_BYTES)
        return make_datetime(payload, None)
    need(size == DATETIME_BYTES or size >= DATETIME_BYTES + OFFSET_BYTES)
    return read_aware(payload, size)


cdef int need(bint right) except -1:
    if not right:
        raise ValueError("a date, time or duration of an impossible length")
    return 0


cdef object read_timedelta(const unsigned char* payload, Py_ssize_t size):
    if size != OFFSET_BYTES:
        return timedelta(microseconds=int.from_bytes(payload[:size], "big", signed=True))
    return duration(<long long> load(payload, OFFSET_BYTES))


cdef object duration(long long microseconds):
    cdef long long rest = microseconds % DAY  # as negative as the rest of it: timedelta puts that right
    return timedelta_new(<int> (microseconds // DAY), <int> (rest // 1_000_000), <int> (rest % 1_000_000))


cdef object make_datetime(const unsigned char* payload, object zone):
    cdef const unsigned char* clock = payload + DATE_BYTES
    cdef int microsecond = <int> load(clock + 3, 3)
    return datetime_new(
        <int> load(payload, 2), payload[2], payload[3], clock[0], clock[1], clock[2],
        microsecond & 0x7FFFFF, zone, microsecond >> 23,
    )


cdef object read_aware(const unsigned char* payload, Py_ssize_t size):
    if size == DATETIME_BYTES:
        return make_datetime(payload, UTC)
    offset = duration(<long long> load(payload + DATETIME_BYTES, OFFSET_BYTES))
    zone = find_zone(payload + DATETIME_BYTES + OFFSET_BYTES, size - DATETIME_BYTES - OFFSET_BYTES)
    if zone is not None:
        value = make_datetime(payload, zone)
        if value.utcoffset() == offset:
            return value
    return make_datetime(payload, timezone(offset))


cdef object read_time(const unsigned char* payload, Py_ssize_t size):
    cdef int microsecond = <int> load(payload + 3, 3)
    cdef long long offset
    zone = None
    if size > CLOCK_BYTES:
        offset = <long long> load(payload + CLOCK_BYTES, OFFSET_BYTES)
        zone = find_zone(payload + CLOCK_BYTES + OFFSET_BYTES, size - CLOCK_BYTES - OFFSET_BYTES)
        if zone is None and offset == UNKNOWN:
            raise ValueError("a time in a time zone that is not known on this machine (install tzdata)")
        zone = timezone(duration(offset)) if zone is None else zone
    return time_new(payload[0], payload[1], payload[2], microsecond & 0x7FFFFF, zone, microsecond >> 23)


cdef object find_zone(const unsigned char* name, Py_ssize_t size):
    """The zone of that name, or None if there is none here; ZoneInfo keeps names inside its own folders."""
    if size == 0:
        return None
    try:
        return ZoneInfo(name[:size].decode("ascii"))
    except (ValueError, KeyError, OSError):
        return None
