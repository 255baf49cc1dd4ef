"""Makes the jobs that are to be added: names checked, data packed, places spelled; nothing is sent."""

from collections.abc import Mapping

from cpython.bytes cimport PyBytes_GET_SIZE

from bullrush._core.codec cimport pack_record, pack_value
from bullrush._core.job cimport JobBase, new_job

from bullrush.errors import InvalidOption, InvalidOptionType, PayloadTooLarge

MODE_LETTERS = {"simple": "s", "throttle": "t", "debounce": "d", "replace": "r", "keep-last": "k"}


cdef class JobFactory:
    """Make jobs for one queue: names are checked and packed once, data is packed, nothing is sent."""

    def __init__(self, type kind, owner, codec, name_check, settings_of, long long size_limit):
        self._kind = kind
        self._owner = owner
        self._codec = codec
        self._sealing = hasattr(codec, "seal")
        self._name_check = name_check
        self._settings_of = settings_of
        self._size_limit = size_limit
        self._names = {}

    cdef bytes _packed_name(self, object name):
        cdef object packed
        if type(name) is not str:
            self._name_check(name, "job name")
        packed = self._names.get(name)
        if packed is None:
            self._name_check(name, "job name")
            packed = pack_value(name)
            if len(self._names) < 4096:
                self._names[name] = packed
        return <bytes>packed

    cdef JobBase _make(self, object name, object data, object settings, long long now_ms):
        cdef bytes packed_name = self._packed_name(name)
        cdef JobBase job = new_job(self._kind, self._owner, "", <str>name)
        cdef long long limit = self._size_limit
        if self._codec is not None and data is not None:
            if self._sealing:
                job.unsealed = self._codec.prepare(data)
                data = bytes(PyBytes_GET_SIZE(job.unsealed) + self._codec.overhead)
            else:
                data = self._codec.encode(data)
        if settings is None:
            job.record = pack_record(packed_name, now_ms, None, data)
        else:
            job.options = settings.wire
            job._settings = settings
            job.record = pack_record(packed_name, now_ms, job.options, data)
            self._place(job, settings)
            if settings.size_limit is not None:
                limit = settings.size_limit
        if PyBytes_GET_SIZE(job.record) > limit:
            raise PayloadTooLarge(
                f"job {name!r} takes {PyBytes_GET_SIZE(job.record):,} bytes, the limit is {limit:,}: "
                "nothing was stored; store large content elsewhere and put a reference into the job")
        job.timestamp = now_ms
        job.find_data()
        return job

    cdef _place(self, JobBase job, object settings):
        """Spell where a job goes: the letters and the value that the add script reads."""
        cdef str place = "w"
        cdef str value = ""
        if settings.lifo:
            place = "h"
        if settings.priority:
            place, value = "p", str(settings.priority)
        if settings.run_at is not None:
            place, value = "t" + place, f"{settings.run_at} {value}"
        elif settings.delay:
            place, value = "d" + place, f"{settings.delay} {value}"
        if settings.job_id is not None:
            place = "?" + place
            job.id = settings.job_id
        place = f"{place} {value}".rstrip()
        dedup = settings.deduplication
        if dedup is not None:
            place = f"{place}\0{MODE_LETTERS[dedup.mode]} {dedup.ttl or 0} {dedup.id}"
        job.conditional = settings.job_id is not None or dedup is not None
        if place != "w":
            job.place = place.encode()

    def make(self, name, data, settings, long long now_ms):
        """Make one job; `settings` are validated options, None for the defaults of the library."""
        return self._make(name, data, settings, now_ms)

    def named(self, str id):
        """Make a job that is only known by its id."""
        return new_job(self._kind, self._owner, id, "")

    def make_all(self, jobs, object options, long long now_ms):
        """Make the jobs of a chunk from tuples and specs; `options` hold for all, those of a job win."""
        cdef list made = []
        cdef object shared = self._settings_of(options)
        if not hasattr(jobs, "__iter__"):
            raise InvalidOptionType(
                f"jobs is {jobs!r} ({type(jobs).__name__}): give an iterable of (name, data) or JobSpec(...)")
        cdef object item
        cdef object own
        cdef object level = None if shared is None else shared.durability
        cdef Py_ssize_t parts
        for item in jobs:
            if type(item) is tuple:
                parts = len(item)
                if parts == 2:
                    made.append(self._make(item[0], item[1], shared, now_ms))
                    continue
                if parts == 3 and isinstance(item[2], Mapping):
                    own = self._settings_of({**options, **item[2]})
                    check_level(own, level, len(made))
                    made.append(self._make(item[0], item[1], own, now_ms))
                    continue
            elif hasattr(item, "options") and hasattr(item, "name"):
                own = self._settings_of({**options, **item.options}) if item.options else shared
                check_level(own, level, len(made))
                made.append(self._make(item.name, item.data, own, now_ms))
                continue
            raise InvalidOptionType(
                f"job {len(made)} is a {type(item).__name__}: "
                "give (name, data), (name, data, options) or JobSpec(...); nothing of this chunk was stored")
        return made


cdef int check_level(object settings, object level, Py_ssize_t index) except -1:
    if settings is not None and settings.durability != level:
        raise InvalidOption(
            f"job {index} has a durability of its own, {settings.durability!r}: it holds for a whole call; "
            "give it to the call or to the queue's defaults; nothing of this chunk was stored")
    return 0
