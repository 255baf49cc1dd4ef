"""Estimates what a value takes in memory once it is decoded, without making any object."""

cdef enum:
    # A byte becomes at most 80 in memory, so what is shorter than this stays below the limit.
    WEIGH_FROM = 262144
    MAX_BYTES = 68157440    # 65 MiB: of one value, a record's name and options included

cdef int refuse_heavy(const unsigned char* data, Py_ssize_t size) except -1
