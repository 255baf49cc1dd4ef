"""Rules that hold for every file of the project, checked on its text."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "bullrush"
LUA = PACKAGE / "lua"

# A module imports from its own layer and from those before it; `__init__` is the door and may import all.
LAYERS = (
    {"_core", "clock", "codec", "envelope", "errors", "keys", "logs", "options", "scripts"},
    {"connection", "embedded", "launcher", "operations"},
    {"app", "events", "flows", "job", "queue", "schedulers", "signals", "sync", "tasks", "worker"},
    {"cli", "contrib", "dashboard", "testing", "__main__"},
)
STRANGERS = {"operations": {"connection"}}  # within a layer: operations know no transport

# Assembled, so that this file doesn't hold them itself.
PRIVATE = re.compile(
    "|".join(
        (
            r"(?<![\w.])/" + r"work(?![\w-])",
            r"\.\./" + r"shared",
            r"/tmp/" + r"scratch",
            "reference" + r"/[a-z-]+\.md",
            "pypi" + r"\.org",
            "python" + "hosted",
            "npm" + r"js\.(?:org|com)",
        )
    )
)
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
TIME_IS_THE_SUBJECT = "# time is the subject"


def project_files(*suffixes: str) -> list[Path]:
    """Every file that is or would be in git; without git (an unpacked archive) what a build doesn't make."""
    git = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = git.stdout.splitlines() if git.returncode == 0 else list(walk())
    found = [ROOT / name for name in names if not suffixes or name.endswith(suffixes)]
    return [path for path in found if path.is_file()]


def walk() -> Iterator[str]:
    for folder in ("src", "ext", "tests", "benchmarks", "examples", "docs", "tools"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in {".so", ".pyc"}:
                yield str(path.relative_to(ROOT))


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def every(*suffixes: str, under: str = "") -> pytest.MarkDecorator:
    """Run a test once per file."""
    paths = [path for path in project_files(*suffixes) if label(path).startswith(under)]
    return pytest.mark.parametrize("path", sorted(paths), ids=label)


def matching(pattern: re.Pattern[str], *suffixes: str) -> list[str]:
    """Every line of the project that has the pattern, as file:line text."""
    return [
        f"{label(path)}:{number} {line.strip()}"
        for path in project_files(*suffixes)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


# Layers


def layer(module: str) -> int:
    """The number of the layer that the top-level module of bullrush is in."""
    for number, names in enumerate(LAYERS):
        if module in names:
            return number
    raise AssertionError(f"bullrush.{module} is in no layer: add it to LAYERS in {Path(__file__).name}")


def imported(source: str, path: Path) -> Iterator[str]:
    """Top-level modules of bullrush that this text at `path` imports when it runs, not for type checkers."""
    tree = ast.parse(source)
    typing_only = {id(node) for test in ast.walk(tree) if is_type_checking(test) for node in ast.walk(test)}
    for node in ast.walk(tree):
        if id(node) not in typing_only:
            yield from modules_of(node, path)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def modules_of(node: ast.AST, path: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = absolute(node, path)
        names = [f"{base}.{alias.name}" if base == "bullrush" else base for alias in node.names]
    else:
        return
    yield from (name.split(".")[1] for name in names if name.startswith("bullrush."))


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The full name of the module that `from … import` names, relative or not."""
    if not node.level:
        return node.module or ""
    package = path.relative_to(PACKAGE.parent).parent.parts
    return ".".join((*package[: len(package) - node.level + 1], *(node.module or "").split("."))).rstrip(".")


def own_module(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@every(".py", under="src/bullrush/")
def test_imports_point_downwards(path: Path) -> None:
    own = own_module(path)
    if own == "__init__":
        return
    names = set(imported(path.read_text(encoding="utf-8"), path))
    upward = {name for name in names if layer(name) > layer(own)}
    assert not upward, f"bullrush.{own} imports from a layer above it: {upward}"
    strangers = names & STRANGERS.get(own, set())
    assert not strangers, f"bullrush.{own} must know nothing of {strangers}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from bullrush import errors", ["errors"]),
        ("from bullrush.options.checks import x", ["options"]),
        ("import bullrush.keys", ["keys"]),
        ("from .. import queue", ["queue"]),
        ("from ..cli import x", ["cli"]),
        ("from .claimer import x", ["worker"]),
        ("from . import claimer", ["worker"]),
        ("def f():\n    from bullrush.worker import Worker", ["worker"]),
        ("if TYPE_CHECKING:\n    from bullrush.cli import x", []),
        ("import redis", []),
    ],
)
def test_imports_are_found_in_every_spelling(source: str, expected: list[str]) -> None:
    assert list(imported(source, PACKAGE / "worker" / "example.py")) == expected


# The compiled core


@every(".pyx", under="ext/")
def test_a_compiled_module_has_a_stub_and_tests(path: Path) -> None:
    stub = ROOT / "src" / path.relative_to(ROOT / "ext").with_suffix(".pyi")
    tests = ROOT / "tests" / "unit" / f"test_{path.stem}.py"
    missing = [label(needed) for needed in (stub, tests) if not needed.is_file()]
    assert not missing, f"{label(path)} needs {missing}"


@every(".pyi", under="src/bullrush/_core/")
def test_a_stub_has_a_compiled_module(path: Path) -> None:
    source = ROOT / "ext" / path.relative_to(ROOT / "src").with_suffix(".pyx")
    assert source.is_file() or path.stem == "__init__", f"there is no {label(source)}"


def test_nothing_generated_is_in_git() -> None:
    found = [label(path) for path in project_files(".c", ".so", ".pyc", ".html.orig")]
    written = ("tests/faults/shims/", "benchmarks/delay.c")
    assert [path for path in found if not path.startswith(written)] == []


# Tests


@every(".py", under="tests/")
def test_tests_wait_for_conditions_and_never_sleep(path: Path) -> None:
    if label(path) == "tests/waiting.py":
        return
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    calls = [
        node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and is_sleep(node)
    ]
    sleeping = [f"{label(path)}:{n}" for n in calls if TIME_IS_THE_SUBJECT not in lines[n - 1]]
    assert not sleeping, f"use tests/waiting.py, or say `{TIME_IS_THE_SUBJECT}` on the line"


def is_sleep(node: ast.Call) -> bool:
    """`asyncio.sleep(0)` waits for nothing and is none."""
    name = ast.unparse(node.func).split(".")[-1]
    return name == "sleep" and not (node.args and ast.unparse(node.args[0]) == "0")


@every(".py", under="tests/")
def test_a_test_file_is_one_thing(path: Path) -> None:
    # The models of random schedules and lives are one thing each, and long.
    limit = 700 if "schedules" in path.name or path.parent.name == "state" else 400
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


# Lua


@pytest.mark.parametrize("path", sorted(LUA.glob("*.lua")), ids=lambda path: path.name)
def test_a_script_declares_what_it_takes_and_returns(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#!")]
    header = lines[
        : next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    ]
    words = [line.removeprefix("--").split() for line in header]
    assert words[0], "the first line says what the script does"
    assert words[0][0] not in {"KEYS", "ARGV", "RETURN", "include"}, (
        "the first line says what the script does"
    )
    declared = [line[0] for line in words if line and line[0] in {"KEYS", "ARGV", "RETURN"}]
    assert declared == ["KEYS", "ARGV", "RETURN"], "one line each, in this order"


def test_scripts_free_memory_in_the_background() -> None:
    assert matching(re.compile(r"call\(\s*[\"']DEL[\"']"), ".lua") == [], "UNLINK, never DEL"


# All files


def test_nothing_names_the_place_where_it_was_written() -> None:
    assert matching(PRIVATE) == []


def test_nothing_is_left_for_later() -> None:
    assert matching(UNFINISHED, ".py", ".pyx", ".pxd", ".pyi", ".lua", ".sh") == []


@every(".py", ".pyx", under="src/")
def test_no_module_is_a_drawer(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
