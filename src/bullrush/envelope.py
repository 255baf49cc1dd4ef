"""Codecs around a codec: what is stored is encrypted, or compressed when it is long."""

from __future__ import annotations

import itertools
import os
import re
import weakref
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bullrush.codec import Codec, MsgpackCodec
from bullrush.errors import CodecError, InvalidOption, InvalidOptionType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["Compressed", "Encrypted"]

KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)
VERSION: Final = 1
SALT: Final = 16
COUNTER: Final = 8
TAG: Final = 16
# Decompressed bytes; more than any value may have (see the decoder's own limit).
MOST: Final = 65 * 1024 * 1024
RAW, DEFLATED = b"\x00", b"\x01"


class Encrypted:
    """Encrypts data and return values with AES-256-GCM; give it as the ``codec`` of producers and workers.

    ``keys`` are secrets of 32 bytes by the names that stand beside what they encrypted; ``write_with`` names
    the one for new data, the last one by default. To rotate, give every program the new key, then write with
    it, and take the old one away once nothing that it encrypted is kept. ``codec`` makes the bytes.

    What is encrypted belongs to one queue and job (and name, for data): elsewhere it cannot be read. Names,
    options, progress, log lines, failures and custom events are not encrypted. Needs the extra
    ``bullrush[encryption]``. Raises InvalidOption or InvalidOptionType.

    Each process encrypts under a key of its own, made from the secret and 16 random bytes (HKDF-SHA256, RFC
    5869), and numbers its messages, so that a nonce never occurs twice however many jobs there are.
    """

    def __init__(
        self, keys: Mapping[str, bytes], *, write_with: str | None = None, codec: Codec | None = None
    ) -> None:
        self._keys = _checked_keys(keys)
        self._current = next(reversed(self._keys)) if write_with is None else write_with
        if self._current not in self._keys:
            raise InvalidOption(f"write_with={write_with!r} is none of the keys {', '.join(self._keys)}")
        self._codec: Codec = MsgpackCodec() if codec is None else codec
        self._subkey = lru_cache(maxsize=1024)(self._derive)
        self._head = bytes([VERSION, len(self._current)]) + self._current.encode()
        self._begin()
        _made.add(self)

    @property
    def name(self) -> str:
        """The inner codec's, and that it is encrypted: a queue takes one or the other."""
        return f"{self._codec.name}+aes-gcm"

    @property
    def overhead(self) -> int:
        """How many bytes longer encrypted data is."""
        return len(self._head) + SALT + COUNTER + TAG

    def prepare(self, value: object, /) -> bytes:
        """Encode a value; `seal` encrypts it once it is known for which job."""
        return self._codec.encode(value)

    def restore(self, prepared: bytes, /) -> object:
        """Decode what `prepare` made."""
        return self._codec.decode(prepared)

    def seal(self, prepared: bytes, context: bytes, /) -> bytes:
        """Encrypt for one place, which `context` names."""
        counter = next(self._counter).to_bytes(COUNTER, "big")
        nonce = bytes(4) + counter
        head = self._head + self._salt + counter
        return head + self._subkey(self._current, self._salt).encrypt(nonce, prepared, head + context)

    def unseal(self, sealed: bytes, context: bytes, /) -> bytes:
        """Decrypt, or raise CodecError: an unknown key, other bytes than were written, or another place."""
        from cryptography.exceptions import InvalidTag

        size = sealed[1] if len(sealed) > 1 else 0
        start = 2 + size + SALT + COUNTER
        if type(sealed) is not bytes or len(sealed) < start + TAG or sealed[0] != VERSION or not size:
            raise CodecError("it is not encrypted, or by a later version")
        key_id = sealed[2 : 2 + size].decode("ascii", errors="replace")
        if key_id not in self._keys:
            raise CodecError(f"it is encrypted with key {key_id!r}, which is none of {', '.join(self._keys)}")
        cipher = self._subkey(key_id, sealed[2 + size : 2 + size + SALT])
        nonce = bytes(4) + sealed[start - COUNTER : start]
        try:
            return cipher.decrypt(nonce, sealed[start:], sealed[:start] + context)
        except InvalidTag:
            raise CodecError(
                f"it was changed, or encrypted with another key named {key_id!r}, or for another job or queue"
            ) from None

    def _begin(self) -> None:
        """Begin a series of nonces: a new process, or the child of a fork."""
        self._salt = os.urandom(SALT)
        self._counter = itertools.count()

    def _derive(self, key_id: str, salt: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), 32, salt, b"bullrush envelope 1").derive(self._keys[key_id])
        return AESGCM(derived)

    def __repr__(self) -> str:
        return f"<Encrypted {self.name!r}, keys {', '.join(self._keys)}, writes with {self._current}>"


_made: weakref.WeakSet[Encrypted] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for codec in list(_made):
        codec._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _checked_keys(keys: Mapping[str, bytes]) -> dict[str, bytes]:
    try:
        import cryptography  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise InvalidOption("Encrypted needs cryptography: pip install 'bullrush[encryption]'") from error
    if not isinstance(keys, Mapping) or not keys:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOptionType("keys must be a mapping of names to secrets, with one at least")
    for key_id, secret in keys.items():
        if not isinstance(key_id, str) or not KEY_ID.fullmatch(key_id):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"the key name {key_id!r} must be 1 to 32 of A-Z a-z 0-9 . _ -")
        if not isinstance(secret, bytes) or len(secret) != 32:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"the secret of key {key_id!r} must be 32 random bytes: os.urandom(32)")
    return dict(keys)


class Compressed:
    """A codec that compresses what is longer than ``threshold`` bytes (zlib, level 1) and gets shorter by it.

    What comes of it is bounded: 65 MiB a value, whatever the bytes say. Inside ``Encrypted`` the length of
    what is stored then tells something of its content; leave it out where others can add to the same data.
    """

    def __init__(self, codec: Codec | None = None, *, threshold: int = 1024) -> None:
        if type(threshold) is not int or threshold < 0:
            raise InvalidOption(f"threshold={threshold!r} must be a number of bytes, 0 or more")
        self._codec: Codec = MsgpackCodec() if codec is None else codec
        self._threshold = threshold

    @property
    def name(self) -> str:
        """The inner codec's, and that it may be compressed."""
        return f"{self._codec.name}+zlib"

    def encode(self, value: object, /) -> bytes:
        """Encode a value; raises what the inner codec raises."""
        data = self._codec.encode(value)
        if len(data) >= self._threshold:
            short = zlib.compress(data, 1)
            if len(short) < len(data):
                return DEFLATED + short
        return RAW + data

    def decode(self, data: bytes, /) -> object:
        """Decode what `encode` made; raises CodecError for anything else."""
        return self._codec.decode(self._expand(bytes(data)))

    def _expand(self, data: bytes) -> bytes:
        if data[:1] == RAW:
            return data[1:]
        if data[:1] != DEFLATED:
            raise CodecError("it is neither compressed nor marked as not compressed")
        stream = zlib.decompressobj()
        try:
            whole = stream.decompress(data[1:], MOST)
        except zlib.error as error:
            raise CodecError(f"it cannot be decompressed: {error}") from error
        if not stream.eof or stream.unused_data:
            raise CodecError(f"it ends too early, or decompresses to more than {MOST:,} bytes")
        return whole
