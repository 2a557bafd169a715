"""Fixtures for all tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parent))

import docs_pages

from udacore.testing.checks.child import surroundings

if torch.__version__.startswith("2.6."):  # imported by the first optimiser, it adds folders to sys.path
    importlib.import_module("torch._dynamo")

Install = Callable[..., Path]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says it where a part of the tests could not be what it should be."""
    if docs_pages.BROWSER is None:
        terminalreporter.section("no Chromium was found", sep="!", red=True)
        terminalreporter.line("The web pages were judged by their text alone: install Chromium to see them as a reader does.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != "test_adaptation.py", item.path not in slow))


@pytest.fixture(autouse=True)
def _leaves_the_process_as_it_was() -> Iterator[None]:
    """Another number of threads, say, moves the last bits of every test that follows in the same process."""
    before = _surroundings()
    yield
    after = _surroundings()
    assert {name: (value, after[name]) for name, value in before.items() if after[name] != value} == {}


def _surroundings() -> dict[str, Any]:
    found = surroundings()
    del found["the environment"]["PYTEST_CURRENT_TEST"]  # set up, call or tear down
    return found


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a tiny distribution for one test: `install("udacore-x", {"x.py": source},
    {"x": "x"}, version="0.1")`.

    What pip leaves behind is what is written here: modules in a folder on sys.path and a dist-info folder
    with METADATA and entry_points.txt. Returns that folder.
    """
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def install(distribution: str, files: dict[str, str], entries: dict[str, str], *, version: str = "0.1", group: str = "udacore.plugins") -> Path:
        for name, text in files.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(dedent(text))
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        invalidate_caches()
        return site

    yield install
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
