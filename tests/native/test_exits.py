"""Programs that end, fork or drop things at the worst moment: no hang, no crash, and a clean exit code."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
import redis

from bullrush import sync
from tests.waiting import wait_until

START = """
import asyncio, faulthandler, gc, os, sys, threading, time
faulthandler.enable()
from bullrush import Queue, Worker, sync
URL, PREFIX = sys.argv[1:3]
started = threading.Event()

def blocks(job):
    started.set()
    threading.Event().wait(60)

async def waits(job):
    started.set()
    await asyncio.sleep(60)

async def add(number):
    async with Queue("q", URL, prefix=PREFIX) as queue:
        await queue.add("n", number)

async def running(handler):
    worker = await Worker(Queue("q", URL, prefix=PREFIX), handler, concurrency=3).__aenter__()
    await add(1)
    while not started.is_set():
        await asyncio.sleep(0.01)
    return worker
"""

PROGRAMS = {
    "a coroutine runs, and the loop is left": """
loop = asyncio.new_event_loop()
worker = loop.run_until_complete(running(waits))
""",
    "a coroutine runs, and the loop is closed": """
loop = asyncio.new_event_loop()
worker = loop.run_until_complete(running(waits))
loop.close()
""",
    "a thread runs, and the loop is left": """
loop = asyncio.new_event_loop()
worker = loop.run_until_complete(running(blocks))
""",
    "asyncio.run ends with a worker that was never closed": """
asyncio.run(running(waits))
""",
    "asyncio.run ends with a busy thread": """
asyncio.run(running(blocks))
""",
    "sys.exit while a job runs": """
async def main():
    await running(waits)
    sys.exit(0)
asyncio.run(main())
""",
    "a consumer holds a job": """
queue = sync.Queue("q", URL, prefix=PREFIX)
queue.add("n", 1)
consumer = sync.Consumer(queue).__enter__()
assert consumer.fetch(1, timeout="10s")
""",
    "a consumer waits in another thread": """
queue = sync.Queue("q", URL, prefix=PREFIX)
consumer = sync.Consumer(queue).__enter__()
threading.Thread(target=consumer.fetch, kwargs={"timeout": "60s"}, daemon=True).start()
queue.add("n", 1)
""",
    "queues are dropped in the middle of a request": """
async def main():
    for number in range(20):
        queue = Queue("q", URL, prefix=PREFIX)
        task = asyncio.ensure_future(queue.add("n", number))
        await asyncio.sleep(0.002 * (number % 4))
        task.cancel()
        del queue, task
        gc.collect()
asyncio.run(main())
""",
    "a loop is dropped with adds in flight": """
for number in range(5):
    loop = asyncio.new_event_loop()
    queue = Queue("q", URL, prefix=PREFIX)
    loop.run_until_complete(queue.add("n", number))
    for _ in range(100):
        loop.create_task(queue.add("n", number))
    loop.call_soon(loop.stop)
    loop.run_forever()
    del queue
    loop.close()
    gc.collect()
""",
    "a fork with a worker and an open link": """
async def main():
    queue = Queue("q", URL, prefix=PREFIX)
    await queue.add("n", 0)
    worker = await running(waits)
    child = os.fork()
    if child == 0:
        os._exit(in_child())
    status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status[1] == 0, status
    await queue.add("n", 3)
    await queue.close()

def in_child():
    result = []
    def run():
        asyncio.run(add(2))
        result.append(1)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return 0 if result else 1

asyncio.run(main())
""",
    "a fork straight after the import": """
child = os.fork()
asyncio.run(add(os.getpid()))
if child:
    assert os.waitpid(child, 0)[1] == 0
""",
}


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    errors: str


def run(program: str, *arguments: str) -> Ended:
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return Ended(done.returncode, done.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends(url: str, prefix: str, name: str) -> None:
    ended = run(START + PROGRAMS[name], url, prefix)
    assert ended.code == 0, ended.errors[-3000:]
    assert "Fatal" not in ended.errors, ended.errors[-3000:]


def test_a_job_of_a_program_that_ended_is_not_lost(url: str, prefix: str, redis_client: redis.Redis) -> None:
    """The consumer's job goes back when the program ends, or is still held and will be recovered."""
    assert run(START + PROGRAMS["a consumer holds a job"], url, prefix).code == 0
    with sync.Queue("q", url, prefix=prefix) as queue:
        wait_until(
            lambda: sum(queue.get_job_counts("waiting", "active").values()) == 1, what="the job to be there"
        )


SUBINTERPRETER = """
import faulthandler
faulthandler.enable()
import _xxsubinterpreters as interpreters
import bullrush
other = interpreters.create()
try:
    interpreters.run_string(other, "import bullrush")
except Exception as error:
    print("refused:", error)
else:
    print("works")
interpreters.destroy(other)
from bullrush._core.codec import decode, encode
assert decode(encode([1])) == [1]
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module that makes interpreters has another name")
def test_a_second_interpreter_gets_an_error_and_the_first_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith(("works", "refused:")), done.stdout
