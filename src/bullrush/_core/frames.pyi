"""Write Redis commands, and the constant head of each script's call packed once."""

from typing import TypeAlias, final

_Argument: TypeAlias = bytes | str | int

@final
class WriteBuffer:
    """Bytes that grow at the end."""

    def bulk(self, value: _Argument) -> None:
        """Append one argument: bytes, str (sent as UTF-8) or int."""

    def getvalue(self) -> bytes:
        """Return a copy of the content."""

    def __len__(self) -> int: ...

def encode_command(*arguments: _Argument) -> bytes:
    """Pack one command; arguments are bytes, str (sent as UTF-8) or int."""

@final
class ScriptFrame:
    """One script bound to the keys of one queue."""

    @property
    def name(self) -> str:
        """The name of the script."""

    def __init__(self, name: str, sha: str, source: bytes, keys: list[bytes]) -> None: ...
    def call(self, *arguments: _Argument, by_text: bool = False) -> bytes:
        """Pack one call, EVALSHA or (by_text) EVAL, with these arguments."""
