"""Write Redis commands: a growable buffer, and the constant head of each script's call packed once."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy


cdef int write_number(unsigned char* target, long long number) noexcept nogil:
    """Write a decimal number; returns its length (at most 20)."""
    cdef unsigned char digits[20]
    cdef int count = 0
    cdef int sign = 0
    cdef unsigned long long rest
    if number < 0:
        target[0] = c"-"
        sign = 1
        rest = <unsigned long long>(-(number + 1)) + 1
    else:
        rest = <unsigned long long>number
    while True:
        digits[count] = <unsigned char>(48 + rest % 10)
        count += 1
        rest //= 10
        if rest == 0:
            break
    cdef int i
    for i in range(count):
        target[sign + i] = digits[count - 1 - i]
    return sign + count


cdef inline unsigned char* write_head(unsigned char* at, Py_ssize_t length) noexcept nogil:
    """Announce an argument of so many bytes; returns where they go. There must be space for 24."""
    at[0] = c"$"
    at += 1
    at += write_number(at, length)
    at[0] = c"\r"
    at[1] = c"\n"
    return at + 2


cdef class WriteBuffer:
    """Bytes that grow at the end. The memory stays for the next use."""

    def __cinit__(self):
        self.data = NULL
        self.size = 0
        self.capacity = 0

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int reserve(self, Py_ssize_t extra) except -1:
        cdef Py_ssize_t needed = self.size + extra
        cdef Py_ssize_t capacity
        cdef unsigned char* grown
        if needed <= self.capacity:
            return 0
        capacity = max(needed, self.capacity * 2, 512)
        grown = <unsigned char*>PyMem_Realloc(self.data, capacity)
        if grown == NULL:
            raise MemoryError
        self.data = grown
        self.capacity = capacity
        return 0

    cdef void clear(self) noexcept:
        """Forget the content; give memory back that one huge job left behind."""
        self.size = 0
        if self.capacity > 8388608:
            PyMem_Free(self.data)
            self.data = NULL
            self.capacity = 0

    cdef bytes copy(self):
        return PyBytes_FromStringAndSize(<char*>self.data, self.size)

    cdef bytes take(self):
        cdef bytes content = self.copy()
        self.clear()
        return content

    cdef int put_raw(self, const unsigned char* source, Py_ssize_t length) except -1:
        self.reserve(length)
        memcpy(self.data + self.size, source, length)
        self.size += length
        return 0

    cdef int put_bytes(self, bytes source) except -1:
        return self.put_raw(<unsigned char*>PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source))

    cdef int put_buffer(self, WriteBuffer other) except -1:
        return self.put_raw(other.data, other.size) if other.size else 0

    cdef int put_bulk_head(self, Py_ssize_t length) except -1:
        """Announce an argument whose parts follow."""
        self.reserve(24)
        self.size = write_head(self.data + self.size, length) - self.data
        return 0

    cdef int put_bulk_raw(self, const unsigned char* source, Py_ssize_t length) except -1:
        cdef unsigned char* at
        self.reserve(length + 26)
        at = write_head(self.data + self.size, length)
        memcpy(at, source, length)
        at += length
        at[0] = c"\r"
        at[1] = c"\n"
        self.size = at + 2 - self.data
        return 0

    cdef int put_bulk(self, bytes source) except -1:
        return self.put_bulk_raw(<unsigned char*>PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source))

    cdef int put_bulk_text(self, str source) except -1:
        cdef Py_ssize_t length
        cdef const char* text = PyUnicode_AsUTF8AndSize(source, &length)
        return self.put_bulk_raw(<const unsigned char*>text, length)

    cdef int put_bulk_number(self, long long number) except -1:
        cdef unsigned char digits[21]
        return self.put_bulk_raw(digits, write_number(digits, number))

    # The same for tests and for cold callers.

    def bulk(self, value):
        """Append one argument: bytes, str or int."""
        if isinstance(value, bytes):
            self.put_bulk(value)
        elif isinstance(value, str):
            self.put_bulk_text(value)
        else:
            self.put_bulk_number(value)

    def getvalue(self):
        """Return a copy of the content."""
        return self.copy()

    def __len__(self):
        return self.size


def encode_command(*arguments):
    """Pack one command; arguments are bytes, str (sent as UTF-8) or int."""
    cdef WriteBuffer buffer = WriteBuffer()
    buffer.put_bytes(b"*%d\r\n" % len(arguments))
    for argument in arguments:
        buffer.bulk(argument)
    return buffer.take()


cdef class ScriptFrame:
    """One script bound to the keys of one queue: its call's constant head, packed once."""

    def __init__(self, str name, str sha, bytes source, list keys):
        self.name = name
        self._fixed = 3 + len(keys)
        self._by_sha = self._head(b"EVALSHA", sha.encode(), keys)
        self._by_text = self._head(b"EVAL", source, keys)

    @staticmethod
    def _head(bytes verb, bytes script, list keys):
        cdef WriteBuffer buffer = WriteBuffer()
        buffer.put_bulk(verb)
        buffer.put_bulk(script)
        buffer.put_bulk_number(len(keys))
        for key in keys:
            buffer.put_bulk(key)
        return buffer.take()

    cdef int begin(self, WriteBuffer into, Py_ssize_t arguments, bint by_text) except -1:
        cdef unsigned char head[24]
        cdef int length
        head[0] = c"*"
        length = 1 + write_number(head + 1, self._fixed + arguments)
        head[length] = c"\r"
        head[length + 1] = c"\n"
        into.put_raw(head, length + 2)
        return into.put_bytes(self._by_text if by_text else self._by_sha)

    def call(self, *arguments, bint by_text=False):
        """Pack one call with these arguments (bytes, str or int)."""
        cdef WriteBuffer buffer = WriteBuffer()
        self.begin(buffer, len(arguments), by_text)
        for argument in arguments:
            buffer.bulk(argument)
        return buffer.take()
