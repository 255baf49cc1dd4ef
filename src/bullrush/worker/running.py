"""Run workers together, and from blocking code with signals."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bullrush.worker.worker import Worker


async def run_together(workers: Sequence[Worker], *, until_idle: bool) -> None:
    """Run workers until all are closed or idle; the first that fails ends the others."""
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run(until_idle=until_idle))


def run_workers_forever(workers: Sequence[Worker], *, until_idle: bool) -> None:
    """Run workers on a loop of their own.

    SIGINT and SIGTERM close them gracefully, a second signal at once.
    """
    asyncio.run(_until_signalled(workers, until_idle))


async def _until_signalled(workers: Sequence[Worker], until_idle: bool) -> None:
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def close() -> None:
        force = bool(closing)
        closing.extend(loop.create_task(worker.close(force=force)) for worker in workers)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, close)
    try:
        await run_together(workers, until_idle=until_idle)
        await asyncio.gather(*closing)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
