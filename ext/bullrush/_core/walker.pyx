"""Proves bytes to be well-formed MessagePack without making any object.

A module of its own on purpose: its array of open containers must not become part of the frames of the reader,
which calls itself for sets in sets and has to fit a thread with a small stack.
"""

from bullrush._core.msgpack_writer cimport MAX_DEPTH, load

cdef Head look(unsigned char tag) noexcept nogil:
    """What a tag announces; `width` bytes of length follow it and come on top of `size`."""
    if tag < 0x80 or tag >= 0xE0:
        return Head(LEAF, 0, 0)
    if tag < 0x90:
        return Head(MAPPING, tag & 0x0F, 0)
    if tag < 0xA0:
        return Head(SEQUENCE, tag & 0x0F, 0)
    if tag < 0xC0:
        return Head(LEAF, tag & 0x1F, 0)
    return look_wide(tag)


cdef Head look_wide(unsigned char tag) noexcept nogil:
    if tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
        return Head(LEAF, 0, 0)
    if 0xC4 <= tag <= 0xC6:                    # bytes
        return Head(LEAF, 0, 1 << (tag - 0xC4))
    if 0xC7 <= tag <= 0xC9:                    # extensions, with their code
        return Head(LEAF, 1, 1 << (tag - 0xC7))
    if tag == 0xCA or tag == 0xCB:             # floats
        return Head(LEAF, 4 << (tag - 0xCA), 0)
    if 0xCC <= tag <= 0xCF:                    # unsigned
        return Head(LEAF, 1 << (tag - 0xCC), 0)
    if 0xD0 <= tag <= 0xD3:                    # signed
        return Head(LEAF, 1 << (tag - 0xD0), 0)
    if 0xD4 <= tag <= 0xD8:                    # extensions of a fixed size
        return Head(LEAF, 1 + (1 << (tag - 0xD4)), 0)
    if 0xD9 <= tag <= 0xDB:                    # str
        return Head(LEAF, 0, 1 << (tag - 0xD9))
    if tag == 0xDC or tag == 0xDD:
        return Head(SEQUENCE, 0, 2 << (tag - 0xDC))
    if tag == 0xDE or tag == 0xDF:
        return Head(MAPPING, 0, 2 << (tag - 0xDE))
    return Head(BAD, 0, 0)


cdef int skip_value(const unsigned char* data, Py_ssize_t size, Py_ssize_t* position) noexcept nogil:
    """Move `position` behind the one well-formed value that stands there, or say what is wrong with it.

    Checks lengths, nesting and tags, not the insides of strings and extensions: these are checked when read.
    """
    return walk(data, size, position, MAX_DEPTH)


cdef int walk(const unsigned char* data, Py_ssize_t size, Py_ssize_t* position, int depth) noexcept nogil:
    cdef Py_ssize_t[MAX_DEPTH + 1] missing  # of each open container: the values still to come
    cdef Py_ssize_t at = position[0]
    cdef int level = 0
    cdef Head head
    missing[0] = 1
    while True:
        if at >= size:
            return TRUNCATED
        head = look(data[at])
        if head.shape == BAD:
            return RESERVED_BYTE
        at += 1
        if head.width:
            if size - at < head.width:
                return TRUNCATED
            head.size += <Py_ssize_t> load(data + at, head.width)
            at += head.width
        if head.size > size - at:  # every element is one byte at least
            return TRUNCATED
        missing[level] -= 1
        if head.shape == LEAF:
            at += head.size
        else:
            if level == depth:
                return TOO_DEEP
            level += 1
            missing[level] = head.size << (head.shape == MAPPING)
        while missing[level] == 0:
            if level == 0:
                position[0] = at
                return WELL_FORMED
            level -= 1


cdef str describe(int problem):
    if problem == TRUNCATED:
        return "it ends too early, or a length in it is wrong"
    if problem == TOO_DEEP:
        return f"it is nested more than {MAX_DEPTH} levels deep"
    return "it has a byte that is not MessagePack"
