"""What a connection is made of, for blocking and asyncio connections alike. Parsing does no I/O."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast
from urllib.parse import SplitResult, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.connection as async_connections
import redis.asyncio.retry as async_retry
import redis.connection as sync_connections
import redis.retry as sync_retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from bullrush.connection.features import introduction, parameters, redis_py_version, without_maintenance
from bullrush.errors import InvalidOption, InvalidOptionType, NotConfigured

AsyncConnection: TypeAlias = async_connections.AbstractConnection
SyncConnection: TypeAlias = sync_connections.AbstractConnection
Transport: TypeAlias = Literal["tcp", "tls", "unix", "embedded"]
Connectable: TypeAlias = "str | redis.asyncio.Redis | redis.Redis | Address | None"

CONNECT_TIMEOUT = 5.0  # s
_SYNC: Mapping[str, Callable[..., SyncConnection]] = {
    "tcp": sync_connections.Connection,
    "tls": sync_connections.SSLConnection,
    "unix": sync_connections.UnixDomainSocketConnection,
}
_ASYNC: Mapping[str, Callable[..., AsyncConnection]] = {
    "tcp": async_connections.Connection,
    "tls": async_connections.SSLConnection,
    "unix": async_connections.UnixDomainSocketConnection,
}
_SCHEMES: Mapping[str, Transport] = {"redis": "tcp", "rediss": "tls", "unix": "unix"}
_LATER = ("redis+sentinel", "redis+cluster")
_LOGIN = {"db", "username", "password", "client_name"}
# Settings of redis-py clients about their pools and answers. A REDIS_URL made for others may carry them.
_NOT_OURS = parameters(async_connections.Connection) | {"max_connections", "timeout", "decode_responses"}
_TLS = {name for cls in (_SYNC["tls"], _ASYNC["tls"]) for name in parameters(cls) if name.startswith("ssl_")}
_WAYS = (
    "pass a connection (a URL such as redis://localhost:6379, or a redis-py client), set BULLRUSH_URL, "
    "or set REDIS_URL; embedded:// needs no server to be installed by hand"
)
_digest_key = os.urandom(16)


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """Where a server is and how to log in. Equal addresses have equal keys and can share a connection.

    ``path`` is the socket of a "unix" address and the directory of an "embedded" one ("" is the default
    directory); ``tls`` holds the settings of a "tls" one by their redis-py names. The repr shows no secret.
    """

    transport: Transport
    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    credential_provider: CredentialProvider | None = field(default=None, repr=False)
    client_name: str | None = None
    tls: tuple[tuple[str, Hashable], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, connection: Connectable = None) -> Address:
        """Read a URL, or copy the settings of a client, never its pool; None asks the environment.

        Raises NotConfigured when there is nothing to read, InvalidOption for a URL or a client that cannot
        be used, InvalidOptionType for anything else.
        """
        if isinstance(connection, Address):
            return connection
        if connection is None:
            return _from_environment()
        if isinstance(connection, str):
            return _from_url(connection, "connection")
        client = cast("object", connection)  # callers without a type checker pass anything
        if isinstance(client, redis.Redis | redis.asyncio.Redis):
            return _from_client(client)
        raise InvalidOptionType(
            f"connection is a {type(connection).__name__}; "
            "it must be a URL, a redis.Redis or a redis.asyncio.Redis"
        )

    @property
    def label(self) -> str:
        """How messages name the server: ``host:port``, the path of a socket, ``embedded://PATH``."""
        if self.transport == "unix":
            return self.path
        if self.transport == "embedded":
            return f"embedded://{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for equal addresses of this process; shows no secret. A provider counts by its identity."""
        provider = None if self.credential_provider is None else id(self.credential_provider)
        tls = tuple((name, _digest(repr(value))) for name, value in self.tls)
        place = (self.transport, self.host, self.port, self.path, self.db)
        return (*place, self.username, _digest(self.password), provider, self.client_name, tls)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Address) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def resolve(self) -> Address:
        """Return an address to connect to: itself, or the socket of an embedded server, started if need be.

        Blocks for "embedded" only; call it before every connect, so that a server that died is started
        again. The server is then held until the process ends. Raises as ``embedded.start`` does.
        """
        if self.transport != "embedded":
            return self
        if sys.platform == "win32":
            raise NotConfigured(f"{self.label} needs Linux or macOS; nothing was started. Instead, {_WAYS}")
        from bullrush.embedded import keep  # not importable on Windows

        return replace(self, transport="unix", path=keep(self.path or None).socket_path)

    def async_connection(self, **overrides: object) -> AsyncConnection:
        """Make an asyncio connection of redis-py, not connected. ``overrides`` are arguments of its class.

        It speaks RESP2, never retries or checks, and waits for answers for ever. Raises InvalidOption for
        TLS settings that it does not know, ValueError for an embedded address that was not resolved.
        """
        factory = _ASYNC[self._connectable()]
        no_retry = async_retry.Retry(NoBackoff(), 0)
        return factory(**{**self._arguments(factory), "retry": no_retry, **overrides})

    def sync_connection(self, **overrides: object) -> SyncConnection:
        """Make a blocking connection of redis-py, not connected; otherwise as ``async_connection``.

        Without ``socket_timeout`` a server that accepts and says nothing holds ``connect()`` for ever.
        """
        factory = _SYNC[self._connectable()]
        no_retry = sync_retry.Retry(NoBackoff(), 0)
        return factory(**{**self._arguments(factory), "retry": no_retry, **overrides})

    def _connectable(self) -> Transport:
        if self.transport == "embedded":
            raise ValueError(f"{self.label} has to be resolved before it is connected to")
        return self.transport

    def _arguments(self, factory: Callable[..., object]) -> dict[str, object]:
        known = parameters(factory)
        return {
            **self._place(known),
            **introduction(known),
            **without_maintenance(known),
            "db": self.db,
            "username": self.username,
            "password": self.password,
            "credential_provider": self.credential_provider,
            "client_name": self.client_name,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "health_check_interval": 0,
        }

    def _place(self, known: frozenset[str]) -> dict[str, object]:
        if self.transport == "unix":
            return {"path": self.path}
        place = {"host": self.host, "port": self.port, "socket_keepalive": True}
        return {**place, **self._tls_arguments(known)}

    def _tls_arguments(self, known: frozenset[str]) -> dict[str, object]:
        """An unknown setting may be left out only if it asks for nothing: the others are for security."""
        for name, value in self.tls:
            if value and name not in known:
                raise InvalidOption(
                    f"{name} of the connection to {self.label} is not supported by this kind of connection "
                    f"in redis-py {redis_py_version()}; nothing was sent"
                )
        return {name: value for name, value in self.tls if name in known}


def _digest(secret: str | None) -> str | None:
    if secret is None:
        return None
    return hashlib.blake2b(secret.encode(), key=_digest_key, digest_size=16).hexdigest()


def _from_environment() -> Address:
    for variable in ("BULLRUSH_URL", "REDIS_URL"):
        if url := os.environ.get(variable):
            return _from_url(url, variable)
    raise NotConfigured(f"no connection was given and none is in the environment; {_WAYS}")


def _from_url(url: str, source: str) -> Address:
    """``source`` is what messages call the URL; its text may hold a password and is never shown."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        raise InvalidOption(f"{source} is not a URL: {error}") from None
    if parts.scheme == "embedded" and url[len("embedded:") :].startswith("//"):
        return Address("embedded", path=_embedded_path(url[len("embedded://") :], source))
    if parts.scheme in _LATER:
        raise InvalidOption(f"{source}: {parts.scheme}:// is not available in this version; use redis://")
    if parts.scheme not in _SCHEMES:
        raise InvalidOption(
            f"{source} has the scheme {parts.scheme!r}; it must be redis://, rediss://, unix:// or embedded://"
        )
    return _from_settings(_SCHEMES[parts.scheme], {**_read_url(url, parts, source), "port": port}, source)


def _embedded_path(path: str, source: str) -> str:
    if any(mark in path for mark in "?#") or "\0" in unquote(path):
        raise InvalidOption(
            f"{source}: embedded:// takes a path and nothing else; write ? as %3F and # as %23"
        )
    return str(Path(unquote(path)).expanduser().absolute()) if path else ""


def _read_url(url: str, parts: SplitResult, source: str) -> dict[str, object]:
    """The settings in a URL of redis-py, without what it silently ignores."""
    if parts.scheme == "unix" and (parts.hostname or not parts.path):
        raise InvalidOption(f"{source}: a unix URL is unix:// and an absolute path: unix:///run/redis.sock")
    if parts.scheme != "unix" and not _is_number(parts.path.strip("/") or "0"):
        raise InvalidOption(f"{source} names the database {parts.path.strip('/')!r}; it must be a number")
    try:
        settings = dict(cast("Mapping[str, object]", async_connections.parse_url(url)))
    except ValueError as error:
        raise InvalidOption(f"{source}: {error}") from None
    settings.pop("connection_class", None)
    unknown = settings.keys() - _LOGIN - _NOT_OURS - _TLS - {"host", "port", "path"}
    if unknown:
        raise InvalidOption(f"{source} has the unknown setting {min(unknown)!r}")
    return settings


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _from_client(client: redis.Redis | redis.asyncio.Redis) -> Address:
    pool = client.connection_pool
    cls = cast("type[object]", pool.connection_class)
    for transport in _SCHEMES.values():
        if cls in (_SYNC[transport], _ASYNC[transport]):
            settings = cast("Mapping[str, object]", pool.connection_kwargs)
            if settings.get("redis_connect_func"):
                raise InvalidOption(
                    "connection is a client with redis_connect_func, which cannot be copied; "
                    "use credential_provider"
                )
            return _from_settings(transport, settings, "connection")
    raise InvalidOption(
        f"connection is a client whose connections are {cls.__module__}.{cls.__qualname__}; only TCP, TLS "
        "and unix socket connections of redis-py can be copied (Sentinel is not available in this version)"
    )


def _from_settings(transport: Transport, settings: Mapping[str, object], source: str) -> Address:
    """Make an address of redis-py's settings; those about pools and answers are left behind."""
    tls = {name: value for name, value in settings.items() if name.startswith("ssl_") and value is not None}
    if tls and transport != "tls":
        raise InvalidOption(f"{source} has {min(tls)} but is not encrypted; use rediss://")
    db = str(settings.get("db") or 0)
    if not _is_number(db):
        raise InvalidOption(f"{source} names the database {db!r}; it must be a number of 0 or more")
    is_unix = transport == "unix"
    return Address(
        transport,
        host="" if is_unix else str(settings.get("host") or "localhost"),
        port=0 if is_unix else int(str(settings.get("port") or 6379)),
        path=str(settings["path"]) if is_unix else "",
        db=int(db),
        username=cast("str | None", settings.get("username")),
        password=cast("str | None", settings.get("password")),
        credential_provider=cast("CredentialProvider | None", settings.get("credential_provider")),
        client_name=cast("str | None", settings.get("client_name")),
        tls=tuple((name, _frozen(value)) for name, value in sorted(tls.items())),
    )


def _frozen(value: object) -> Hashable:
    return tuple(cast("list[Hashable]", value)) if isinstance(value, list) else value
