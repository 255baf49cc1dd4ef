"""The default codec, "msgpack", and the job record.

A record is an array of four elements or more: name (str), timestamp (unsigned, ms), options (map or nil),
data. Readers ignore the elements behind these, so that later versions can add some.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from bullrush._core.msgpack_writer cimport (
    STACK_BYTES, Writer, load, write_number, write_raw, write_tag, writer_release, writer_start,
)
from bullrush._core.packing cimport explain, write_value
from bullrush._core.walker cimport describe
from bullrush._core.weigher cimport WEIGH_FROM, refuse_heavy

from bullrush.errors import CodecError


# --- values

cdef bytes pack_value(object value):
    """Encode a value; a CodecError calls it `data`."""
    return pack_named("data", value)


cdef bytes pack_named(str root, object value):
    """Encode a value that errors call `root`."""
    cdef unsigned char[STACK_BYTES] space
    cdef Writer out
    writer_start(&out, space, STACK_BYTES)
    try:
        write_value(&out, value, 0)
        if out.size > WEIGH_FROM:
            refuse_heavy(out.data, out.size)
        return PyBytes_FromStringAndSize(<const char*> out.data, out.size)
    except Exception as error:
        problem = explain(root, error)
    finally:
        writer_release(&out)
    raise problem  # out here it does not drag along a traceback through every level


cdef object unpack_value(object buffer):
    """Decode what a buffer holds. Anything but bytes is copied first: it could change while it is read."""
    cdef bytes data = buffer if type(buffer) is bytes else bytes(memoryview(buffer))
    return unpack_slice(<const unsigned char*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def encode(value):
    """Encode a value as MessagePack.

    Subclasses become what they are made of: an Enum of str or int its value, a named tuple a list, other
    dicts a dict. Tuples come back as lists, except in sets; bytearray and memoryview as bytes; -0.0, nan and
    infinities as they are. A bool stays a bool, and is refused as a key.
    Aware datetimes keep the instant, the offset and, if they have one, their ZoneInfo. `msgpack.ExtType` with
    a code from 32 to 127 passes through. Raises CodecError, naming the path, for anything else, for text that
    is not Unicode, and for more than 512 levels.
    """
    return pack_value(value)


def decode(data):
    """Decode one MessagePack value. Unknown extensions come back as `msgpack.ExtType`.

    Raises CodecError if the bytes are anything but one well-formed value.
    """
    return unpack_value(data)


class MsgpackCodec:
    """The default codec: MessagePack with extension types for what Python programs keep in their data."""

    __slots__ = ()
    name = "msgpack"

    def encode(self, value, /):
        """Encode a value; see `encode`."""
        return pack_value(value)

    def decode(self, data, /):
        """Decode one value; see `decode`."""
        return unpack_value(data)


# --- records

cdef bytes pack_record(bytes packed_name, long long timestamp, bytes options, object data):
    """Build a job's record; `packed_name` is MessagePack, `options` that of a map or None."""
    cdef unsigned char[STACK_BYTES] space
    cdef Writer out
    writer_start(&out, space, STACK_BYTES)
    try:
        write_tag(&out, 0x94)
        write_raw(&out, PyBytes_AS_STRING(packed_name), PyBytes_GET_SIZE(packed_name))
        write_number(&out, 0xCF, <unsigned long long> timestamp, 8)
        if options is None:
            write_tag(&out, 0xC0)
        else:
            write_raw(&out, PyBytes_AS_STRING(options), PyBytes_GET_SIZE(options))
        write_value(&out, data, 0)
        if out.size > WEIGH_FROM:
            refuse_heavy(out.data, out.size)
        return PyBytes_FromStringAndSize(<const char*> out.data, out.size)
    except Exception as error:
        problem = explain("data", error)
    finally:
        writer_release(&out)
    raise problem


cdef int parse_record(const unsigned char* data, Py_ssize_t size, RecordParts* parts) noexcept nogil:
    """Find the parts of a record and prove all of it well-formed; 0, or a code for `record_problem`."""
    cdef Py_ssize_t at = 0, rest
    cdef int problem = read_array_head(data, size, &at, &rest)
    if not problem:
        problem = find_name(data, size, &at, parts)
    if not problem:
        problem = find_timestamp(data, size, &at, parts)
    if not problem:
        problem = find_options(data, size, &at, parts)
    if problem:
        return problem
    parts.data_offset = at
    problem = skip_value(data, size, &at)
    parts.data_size = at - parts.data_offset
    rest -= 4
    while rest and not problem:
        problem = skip_value(data, size, &at)
        rest -= 1
    return problem or (TRAILING_BYTES if at != size else WELL_FORMED)


cdef int read_array_head(
    const unsigned char* data, Py_ssize_t size, Py_ssize_t* at, Py_ssize_t* count
) noexcept nogil:
    cdef int width = 0
    if size == 0:
        return NOT_A_RECORD
    if 0x90 <= data[0] < 0xA0:
        count[0] = data[0] & 0x0F
    elif data[0] == 0xDC or data[0] == 0xDD:
        width = 2 << (data[0] - 0xDC)
        count[0] = <Py_ssize_t> load(data + 1, width) if size > width else 0
    else:
        return NOT_A_RECORD
    at[0] = 1 + width
    return WELL_FORMED if count[0] >= 4 else NOT_A_RECORD


cdef int find_name(
    const unsigned char* data, Py_ssize_t size, Py_ssize_t* at, RecordParts* parts
) noexcept nogil:
    cdef Py_ssize_t start = at[0]
    cdef int width = 0
    if skip_value(data, size, at):
        return BAD_NAME
    if 0xD9 <= data[start] <= 0xDB:
        width = 1 << (data[start] - 0xD9)
    elif not 0xA0 <= data[start] < 0xC0:
        return BAD_NAME
    parts.name_offset = start + 1 + width
    parts.name_size = at[0] - parts.name_offset
    return WELL_FORMED


cdef int find_timestamp(
    const unsigned char* data, Py_ssize_t size, Py_ssize_t* at, RecordParts* parts
) noexcept nogil:
    cdef Py_ssize_t start = at[0]
    if skip_value(data, size, at):
        return BAD_TIMESTAMP
    if data[start] < 0x80:
        parts.timestamp = data[start]
    elif 0xCC <= data[start] <= 0xCF:
        parts.timestamp = <long long> load(data + start + 1, 1 << (data[start] - 0xCC))
    else:
        return BAD_TIMESTAMP
    return BAD_TIMESTAMP if parts.timestamp < 0 else WELL_FORMED


cdef int find_options(
    const unsigned char* data, Py_ssize_t size, Py_ssize_t* at, RecordParts* parts
) noexcept nogil:
    cdef Py_ssize_t start = at[0]
    cdef unsigned char tag
    if skip_value(data, size, at):
        return BAD_OPTIONS
    tag = data[start]
    if tag != 0xC0 and tag != 0xDE and tag != 0xDF and not 0x80 <= tag < 0x90:
        return BAD_OPTIONS
    parts.options_offset = start
    parts.options_size = 0 if tag == 0xC0 else at[0] - start
    return WELL_FORMED


cdef str record_problem(int code):
    """What a code from `parse_record` means, to follow "not a job record: "."""
    if code == NOT_A_RECORD:
        return "it is not an array of four elements or more"
    if code == BAD_NAME:
        return "its name is not a str"
    if code == BAD_TIMESTAMP:
        return "its timestamp is not an unsigned 63-bit number"
    if code == BAD_OPTIONS:
        return "its options are neither a map nor nil"
    if code == TRAILING_BYTES:
        return "bytes follow it"
    return describe(code)


def encode_record(str name not None, timestamp, bytes options, data):
    """Encode a record from a name, a time in ms, packed options (a MessagePack map) or None, and data.

    Raises CodecError for data that the codec refuses and for a record that could not be read back.
    """
    if not 0 <= timestamp < 1 << 63:
        raise CodecError(f"timestamp={timestamp!r} is not a time in ms from 0 to 2**63 - 1")
    record = pack_record(pack_named("name", name), timestamp, options, data)
    split(record)
    return record


def decode_record(record):
    """Split a record into name, timestamp in ms, packed options or None, and packed data.

    Raises CodecError, with the reason, if it is none.
    """
    cdef bytes raw = bytes(memoryview(record))
    cdef RecordParts parts = split(raw)
    try:
        name = raw[parts.name_offset:parts.name_offset + parts.name_size].decode()
    except UnicodeDecodeError as error:
        raise CodecError(f"not a job record: its name is not UTF-8 ({error})") from error
    options = raw[parts.options_offset:parts.options_offset + parts.options_size] or None
    return name, parts.timestamp, options, raw[parts.data_offset:parts.data_offset + parts.data_size]


cdef RecordParts split(bytes record):
    cdef RecordParts parts
    cdef int problem = parse_record(
        <const unsigned char*> PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record), &parts
    )
    if problem:
        raise CodecError(f"not a job record: {record_problem(problem)}")
    return parts
