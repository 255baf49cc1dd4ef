"""The app object: the connection, prefix, codec and defaults that producers, workers and tools share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

import redis
import redis.asyncio

from bullrush.connection.address import Address
from bullrush.connection.link import Link
from bullrush.connection.port import AsyncReader
from bullrush.connection.startup import StartCheck
from bullrush.connection.sync_link import SyncLink, making
from bullrush.connection.sync_port import SyncPort
from bullrush.errors import InvalidOption
from bullrush.keys import Keys
from bullrush.operations.doctor import Diagnosis, examine_server
from bullrush.operations.queues import list_queues
from bullrush.options import (
    Duration,
    JobOptions,
    Middleware,
    WorkerOptions,
    check_prefix,
    duration_ms,
    job_settings,
)
from bullrush.options.texts import check_bool

if TYPE_CHECKING:
    from bullrush import sync
    from bullrush.codec import AnyCodec
    from bullrush.queue import Queue
    from bullrush.worker import Worker
    from bullrush.worker.handlers import Handlers

Connection: TypeAlias = "str | redis.asyncio.Redis | redis.Redis | Bullrush | None"


class Bullrush:
    """What producer, worker and tools of one program share.

    `connection` is a URL, a redis-py client whose settings are copied, or None for the environment
    (`BULLRUSH_URL`, then `REDIS_URL`). Nothing connects before the first call. `request_timeout` bounds every
    call, which then raises ConnectionLost. The first connection looks whether the server is a replica or
    evicts keys, and logs a warning; with `strict` nothing is sent to such a server, and calls raise
    UnsupportedServer.
    """

    def __init__(
        self,
        connection: str | redis.asyncio.Redis | redis.Redis | None = None,
        *,
        prefix: str = "bullrush",
        codec: AnyCodec | None = None,
        defaults: JobOptions | None = None,
        request_timeout: Duration = 10_000,
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
        middleware: Sequence[Middleware] = (),
        strict: bool = False,
    ) -> None:
        self.prefix = check_prefix(prefix, "prefix")
        self.codec = codec
        self.defaults: JobOptions = defaults or {}
        job_settings(self.defaults)
        self.request_timeout = duration_ms(request_timeout, "request_timeout", least=100) / 1000
        self.lifespan = lifespan
        self.middleware = tuple(middleware)
        self._connection = connection
        self._address: Address | None = None
        self._strict = check_bool(strict, "strict")
        self._start_check: StartCheck | None = None
        self._link: Link | None = None
        self._sync_link: SyncLink | None = None
        self._queues: dict[str, Queue[Any, Any]] = {}
        self._sync_queues: dict[str, sync.Queue[Any, Any]] = {}
        self._workers: list[Worker] = []

    @property
    def address(self) -> Address:
        """Where the server is; raises NotConfigured when nothing says so."""
        if self._address is None:
            self._address = Address.parse(self._connection)
        return self._address

    @property
    def start_check(self) -> StartCheck:
        """The look at the server that all connections of this app share."""
        if self._start_check is None:
            self._start_check = StartCheck(self.address.label, strict=self._strict)
        return self._start_check

    @property
    def link(self) -> Link:
        """The data connection that all queues of this app share."""
        if self._link is None:
            self._link = Link(self.address, reply_limit=self.request_timeout, check=self.start_check)
        return self._link

    @property
    def sync_link(self) -> SyncLink:
        """The data connection that all blocking queues of this app share, for all threads."""
        with making:
            if self._sync_link is None:
                self._sync_link = SyncLink(
                    self.address, reply_limit=self.request_timeout, check=self.start_check
                )
            return self._sync_link

    def queue(self, name: str, *, defaults: JobOptions | None = None) -> Queue[Any, Any]:
        """Return the queue of that name: the same object each time.

        `defaults` may be given the first time only.
        """
        from bullrush.queue import Queue

        found = self._queues.get(name)
        if found is None:
            found = self._queues[name] = Queue(name, self, defaults=defaults)
        elif defaults is not None:
            raise InvalidOption(f"queue {name!r} exists already: its defaults={defaults!r} cannot be changed")
        return found

    def sync_queue(self, name: str) -> sync.Queue[Any, Any]:
        """Return the blocking queue of that name: the same object each time."""
        from bullrush import sync

        with making:
            if name not in self._sync_queues:
                self._sync_queues[name] = sync.Queue(name, self)
            return self._sync_queues[name]

    def worker(self, queue: str, handler: Handlers, **worker_options: Unpack[WorkerOptions]) -> Worker:
        """Declare a worker for a queue of this app; `run` and `run_forever` start it."""
        from bullrush.worker import Worker

        worker_options.setdefault("lifespan", self.lifespan)
        worker_options.setdefault("middleware", self.middleware)
        worker = Worker(self.queue(queue), handler, **worker_options)
        self._workers.append(worker)
        return worker

    # Proof.

    async def doctor(self) -> Diagnosis:
        """Examine the server: what it is, keeps and allows, and what to do where that is not enough.

        On a connection of its own. Nothing stays written. Raises what a first call would raise.
        """
        link = Link(self.address, reply_limit=self.request_timeout)
        try:
            keys = Keys(self.prefix, "doctor")
            return await AsyncReader(link).run(examine_server(keys, self.address.label))
        finally:
            await link.close()

    def doctor_sync(self) -> Diagnosis:
        """Do the same from blocking code."""
        link = SyncLink(self.address, reply_limit=self.request_timeout)
        port = SyncPort(link, Keys(self.prefix, "doctor"), "msgpack", timeout=self.request_timeout)
        try:
            return port.run(examine_server(port.keys, self.address.label))
        finally:
            port.close()
            link.close()

    def list_queues(self) -> list[str]:
        """Return the names of all queues under this prefix, from blocking code; it looks through all keys."""
        port = SyncPort(self.sync_link, Keys(self.prefix, "doctor"), "msgpack", timeout=self.request_timeout)
        try:
            return port.run(list_queues(self.prefix))
        finally:
            port.close()

    async def run(self, *queues: str, until_idle: bool = False) -> None:
        """Run all declared workers, or those of the queues named, until closed or cancelled."""
        from bullrush.worker.running import run_together

        await run_together(self._chosen(queues), until_idle=until_idle)

    def run_forever(self, *queues: str, until_idle: bool = False) -> None:
        """Run them from blocking code: SIGINT and SIGTERM close gracefully, a second signal at once."""
        from bullrush.worker.running import run_workers_forever

        run_workers_forever(self._chosen(queues), until_idle=until_idle)

    def _chosen(self, queues: tuple[str, ...]) -> list[Worker]:
        chosen = [worker for worker in self._workers if not queues or worker.queue.name in queues]
        missing = set(queues) - {worker.queue.name for worker in chosen}
        if missing or not chosen:
            raise InvalidOption(
                f"no worker is declared for {', '.join(sorted(missing)) or 'any queue'}: use app.worker(...)"
            )
        return chosen

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let what is buffered leave, then close the connection. The app may be used again."""
        for queue in self._queues.values():
            await queue.close()
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()
        self.close_sync()

    def close_sync(self) -> None:
        """Close the blocking queues and their connection; needs no event loop."""
        for blocking in list(self._sync_queues.values()):
            blocking.close()
        with making:
            link, self._sync_link = self._sync_link, None
        if link is not None:
            link.close()
