"""Every Python block in the guides runs as it stands.

A block whose first line is `# name.py` is a file; files of one page lie in one folder and may import each
other. `test_*.py` is run by pytest; a program that runs for ever runs in the background while the page's
others run, everything else to its end. A block without a name is code inside a program: it may await at the
top level, and sees what the blocks before it have defined.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (ROOT / "docs/getting-started.md", ROOT / "docs/bullmq.md", ROOT / "README.md")
    if page.is_file()
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# (\w+\.py)\n")
LOCAL = re.compile(r"redis://localhost(:6379)?(/0)?")
LIMIT = 60.0  # s, for one program


@dataclass(frozen=True)
class Block:
    """One block of a page: its text, the line it begins at, and its file name if it has one."""

    text: str
    line: int
    name: str | None

    @property
    def is_program(self) -> bool:
        return self.name is not None or "asyncio.run(" in self.text or "run_forever(" in self.text

    @property
    def is_endless(self) -> bool:
        return "run_forever()" in self.text


def blocks_of(page: str) -> list[Block]:
    """Find the Python blocks of a page, in order."""
    found: list[Block] = []
    for match in BLOCK.finditer(page):
        name = NAME.match(match[1])
        found.append(Block(match[1], page.count("\n", 0, match.start(1)) + 1, name[1] if name else None))
    return found


class Page:
    """Runs the blocks of one page in a folder of its own."""

    def __init__(self, path: Path, url: str, folder: Path) -> None:
        self._path = path
        self._url = url
        self._folder = folder
        self._names: dict[str, object] = {}
        self._background: dict[Path, subprocess.Popen[str]] = {}

    async def run(self, block: Block) -> None:
        """Run one block; an assertion of this test or of the block fails when it does not work."""
        if not block.is_program:
            await self._run_inside(block)
            return
        file = self._folder / (block.name or f"line_{block.line}.py")
        file.write_text(self._text(block), encoding="utf-8")
        if block.is_endless:
            self._background[file] = self._start(file)
        elif file.name.startswith("test_"):
            self._finish(self._start("-m", "pytest", "-q", "-p", "no:cacheprovider", file), block)
        elif file.name != "conftest.py":
            self._finish(self._start(file), block)

    def end(self) -> None:
        """Stop what runs in the background as a user would, with Ctrl-C: it has to leave in good order."""
        while self._background:
            file, process = self._background.popitem()
            self._finish(process, Block("", 0, file.name), interrupt=True)

    async def _run_inside(self, block: Block) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        source = "\n" * (block.line - 1) + self._text(block)
        code: CodeType = compile(source, self._path, "exec", flags=flags, dont_inherit=True)
        outcome = eval(code, self._names)
        if inspect.isawaitable(outcome):
            await outcome

    def _text(self, block: Block) -> str:
        return LOCAL.sub(self._url, block.text)

    def _start(self, *command: str | Path) -> subprocess.Popen[str]:
        paths = [str(ROOT / "src"), str(self._folder), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [sys.executable, "-X", "dev", *map(str, command)],
            cwd=self._folder,
            env={
                **os.environ,
                "BULLRUSH_URL": self._url,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "XDG_STATE_HOME": str(self._folder),
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str], block: Block, *, interrupt: bool = False) -> None:
        if interrupt:
            process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            pytest.fail(f"{self._path.name}, {block.name}: no end after {LIMIT} s\n{output}")
        assert process.returncode == 0, f"{self._path.name}, {block.name or block.line}:\n{output}"
        assert "Traceback" not in output, f"{self._path.name}, {block.name or block.line}:\n{output}"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for the files of a page, and the working directory while its blocks run."""
    with contextlib.chdir(tmp_path):
        yield tmp_path


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
async def test_the_blocks_of_a_page_run(
    path: Path, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULLRUSH_URL", url)
    page = Page(path, url, folder)
    try:
        for block in blocks_of(path.read_text(encoding="utf-8")):
            await page.run(block)
    finally:
        page.end()


@pytest.mark.parametrize(
    "broken", ["raise RuntimeError('x')", "async with 1: pass", "import nothing_like_it"]
)
async def test_a_block_that_fails_is_noticed(broken: str, url: str, folder: Path) -> None:
    page = Page(Path("page.md"), url, folder)
    (inside, program) = blocks_of(f"```python\n{broken}\n```\n\n```python\n# a.py\nif 1: {broken}\n```\n")
    with pytest.raises((RuntimeError, TypeError, ImportError)):
        await page.run(inside)
    with pytest.raises(AssertionError, match=r"a\.py"):
        await page.run(program)


def test_blocks_are_found_with_their_names_and_lines() -> None:
    page = "# Title\n\n```sh\nls\n```\n\n```python\n# a.py\nx = 1\n```\n\n```python\ny = 2\n```\n"
    assert blocks_of(page) == [Block("# a.py\nx = 1\n", 8, "a.py"), Block("y = 2\n", 13, None)]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src/bullrush/lua").glob("*.lua")), ids=lambda path: path.stem
)
def test_the_protocol_page_has_what_a_script_declares(path: Path) -> None:
    header = re.findall(r"^-- ((?:KEYS|ARGV|RETURN) .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    page = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    assert "\n".join([f"```\n{path.stem}", *header, "```"]) in page, "docs/protocol.md is behind this script"


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        assert not target or (path.parent / target).exists(), f"{path.name} links to {target}"
        assert target or anchor in anchors, f"{path.name} links to #{anchor}"
