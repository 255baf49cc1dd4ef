"""The default codec, "msgpack", and the job record."""

def encode(value: object) -> bytes:
    """Encode a value as MessagePack; CodecError names the path of what is not supported."""

def decode(data: bytes | bytearray | memoryview) -> object:
    """Decode one MessagePack value; CodecError if the bytes are anything else."""

class MsgpackCodec:
    """The default codec: MessagePack with extension types for what Python programs keep in their data."""

    @property
    def name(self) -> str:
        """What is stored with the queue."""

    def encode(self, value: object, /) -> bytes:
        """Encode a value; see `encode`."""

    def decode(self, data: bytes | bytearray | memoryview, /) -> object:
        """Decode one value; see `decode`."""

def encode_record(name: str, timestamp: int, options: bytes | None, data: object) -> bytes:
    """Encode a record from a name, a time in ms, packed options or None, and data; or CodecError."""

def decode_record(record: bytes | bytearray | memoryview) -> tuple[str, int, bytes | None, bytes]:
    """Split a record into name, time in ms, packed options or None, and packed data; or CodecError."""
