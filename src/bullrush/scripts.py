"""Load the Lua scripts: the header of each file is the only place where its keys and arguments are declared.

A file starts with an optional shebang, a description, and the lines ``-- KEYS``, ``-- ARGV`` and
``-- RETURN``. Lines ``-- include "name"`` are replaced by ``include/name.lua``, once each. For every key of
the header the script gets ``local <name>_key = KEYS[i]``; a last name with ``*`` stands for any number of
keys, used by index.

Scripts are sent with EVALSHA and, after NOSCRIPT, once with EVAL and the whole text: loading and calling in
two steps would loop with a flush in between. Functions would be shared state between versions of a rolling
deployment.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from bullrush.keys import Keys

_INCLUDE = re.compile(r'^-- include "(\w+)"$')
_KEYS = re.compile(r"^-- KEYS +(.+)$", re.MULTILINE)


class Script:
    """One script: its text as sent, its digest, and the names of its keys in order."""

    __slots__ = ("keys", "name", "sha", "source", "variadic")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        declared = _KEYS.search(text)
        if declared is None:
            raise ValueError(f"script {name} has no KEYS line")
        names = re.sub(r"\(.*\)", "", declared[1]).split()
        self.variadic = names[-1].endswith("*")
        self.keys = tuple(names[:-1] if self.variadic else names)
        self.source = _expand(text, self.keys).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()

    def names(self, keys: Keys, held: tuple[bytes, ...] = ()) -> list[bytes]:
        """Return a call's keys in the order of the header.

        `held` follows them, or takes the place of held, and of the signals of the same worker.
        """
        own = {} if not held else {"held": held[0], "signals": held[0].replace(b":held:", b":signals:")}
        found = [own.get(name) or keys[name] for name in self.keys if own or name not in ("held", "signals")]
        return [*found, *held] if self.variadic else found


def _expand(text: str, keys: tuple[str, ...]) -> str:
    """Paste includes and name the keys; comments stay out of what is sent."""
    lines = text.splitlines()
    shebang = lines.pop(0) + "\n" if lines[0].startswith("#!") else ""
    named = "".join(f"local {name}_key = KEYS[{i}]\n" for i, name in enumerate(keys, 1))
    return shebang + named + "\n".join(_paste(lines, set())) + "\n"


def _paste(lines: list[str], seen: set[str]) -> list[str]:
    result: list[str] = []
    for line in lines:
        include = _INCLUDE.match(line)
        if include and include[1] not in seen:
            seen.add(include[1])
            result += _paste(_read(f"include/{include[1]}.lua").splitlines(), seen)
        elif line.strip() and not line.lstrip().startswith("--"):
            result.append(line)
    return result


def _read(path: str) -> str:
    return files("bullrush").joinpath("lua", path).read_text(encoding="utf-8")


@cache
def load(name: str) -> Script:
    """Return the script of that name, read and hashed once per process."""
    return Script(name, _read(f"{name}.lua"))
