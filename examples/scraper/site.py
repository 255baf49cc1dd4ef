"""The web site: a few dozen pages that link to each other. It notes every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from aiohttp import web

SECTIONS, ARTICLES = 8, 2
HOME = "/"
DEAD_LINK = "/gone"
BUSY = "/section/2/article/1"  # says 429 when it is asked for the first time
STUCK = "/section/3/article/2"  # does not answer when it is asked for the first time
RETRY_AFTER = 1  # seconds
ALLOWED = 10  # requests within any second


@dataclass(frozen=True)
class Request:
    """One request: when it came (seconds of the monotonic clock), and the status; 0 = never answered."""

    at: float
    path: str
    status: int


def site_map() -> dict[str, list[str]]:
    """Return every page with its links: home, sections, articles; they link back, and to the next."""
    sections = [f"/section/{n}" for n in range(1, SECTIONS + 1)]
    links = {HOME: [*sections, DEAD_LINK]}
    for n, section in enumerate(sections):
        articles = [f"{section}/article/{a}" for a in range(1, ARTICLES + 1)]
        links[section] = [HOME, sections[(n + 1) % SECTIONS], *articles]
        for article in articles:
            links[article] = [HOME, section, *articles, DEAD_LINK]
    return links


@dataclass
class Site:
    """The running site."""

    url: str = ""
    links: dict[str, list[str]] = field(default_factory=site_map)
    requests: list[Request] = field(default_factory=list[Request])

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request, and note it."""
        at, path = monotonic(), request.path
        first = all(seen.path != path for seen in self.requests)
        if path == STUCK and first:
            self._note(at, path, 0)
            await asyncio.sleep(60)
        if path == BUSY and first:
            self._note(at, path, 429)
            return web.Response(status=429, headers={"Retry-After": str(RETRY_AFTER)})
        if path not in self.links:
            self._note(at, path, 404)
            return web.Response(status=404)
        self._note(at, path, 200)
        body = "".join(f'<li><a href="{link}">{link}</a></li>' for link in self.links[path])
        return web.Response(text=f"<h1>{path}</h1><ul>{body}</ul>", content_type="text/html")

    def _note(self, at: float, path: str, status: int) -> None:
        self.requests.append(Request(at, path, status))


@asynccontextmanager
async def open_site() -> AsyncGenerator[Site]:
    """Serve on a free port of the loopback interface until the end of the block."""
    site = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", site.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        site.url = f"http://{host}:{port}"
        yield site
    finally:
        await runner.cleanup()
