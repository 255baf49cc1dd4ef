"""The scripts of bullrush by their SHA1, for whoever looks at requests on the wire."""

from __future__ import annotations

from importlib.resources import files

from bullrush.scripts import load


def script_names() -> dict[str, str]:
    """The names of the scripts by their SHA1."""
    names = [path.name for path in files("bullrush").joinpath("lua").iterdir() if path.name.endswith(".lua")]
    return {load(name.removesuffix(".lua")).sha: name.removesuffix(".lua") for name in names}
