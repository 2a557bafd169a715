"""The tables of docs/algorithms hold the numbers of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from udacore.config.resolve import load_config
from udacore.data.streets.shift import PAIRS
from udacore.labels import CITYSCAPES_IDS, CLASSES19, COLOURS, SHORT_NAMES, SYNTHIA_IDS
from udacore.methods.discovery import load_plugin

PAGES = Path(__file__).parent.parent / "docs" / "algorithms"


def read_table(page: str, section: str) -> list[list[str]]:
    """The cells of a section's tables, without the head of the first."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    body = re.search(rf"^#{{2,3}} {re.escape(section)} .*?(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert body is not None
    lines = [line for line in body[0].splitlines() if line.startswith("|")]
    assert len(lines) > 2
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_nineteen_classes() -> None:
    rows = read_table("datasets", "5.1")
    assert [row[1] for row in rows] == list(CLASSES19)
    for number, (train_id, name, cityscapes, synthia, colour) in enumerate(rows):
        assert int(train_id) == number
        assert (int(cityscapes), int(synthia)) == (CITYSCAPES_IDS[name], SYNTHIA_IDS[name])
        assert tuple(int(part) for part in colour.split(", ")) == COLOURS[name]


def test_the_ids_of_synthia() -> None:
    cells = [cell for row in read_table("datasets", "3") for cell in row]
    names = {SHORT_NAMES.get(name, name): int(number) for number, name in zip(cells[::2], cells[1::2], strict=True) if number}
    assert SYNTHIA_IDS.items() <= names.items()
    assert sorted(names.values()) == list(range(23))


def test_the_order_of_plca() -> None:
    cells = [cell for row in read_table("clp", "8.3") for cell in row]
    triples = [each for each in zip(cells[::3], cells[1::3], cells[2::3], strict=True) if each[0]]
    found = {int(place): (name, int(train_id)) for place, name, train_id in triples}
    layout = load_plugin("clp").module.LAYOUTS[0]
    assert [found[place][1] for place in layout.class_orders[19]] == list(range(19))
    assert all(CLASSES19[train_id] == name for name, train_id in found.values())


def test_the_pairs_of_the_embedded_domains() -> None:
    rows = read_table("streets", "1")
    assert len(rows) == 8
    for group, _, *cells in rows:
        for pair, cell in zip("WPL", cells, strict=True):
            low, high = (float(part) for part in (cell or "0 to 0").split(" to "))
            if group.startswith("source"):
                assert PAIRS[pair].source_walk == (low, high)
            else:
                assert (getattr(PAIRS[pair].low, group), getattr(PAIRS[pair].high, group)) == (low, high)


def published_settings(plugin: str, section: str) -> dict[str, Any]:
    """Setting -> value from the table of published settings; what is said behind a value is left out."""
    found: dict[str, Any] = {}
    for first, second, *_ in read_table(plugin, section):
        names = re.findall(r"`(\w+)`", first)
        values = [read_value(part.strip("` ").split(" ")[0]) for part in second.split(", ")]
        found |= {"box_sizes": tuple(values)} if names == ["box_sizes"] else dict(zip(names, values, strict=False))
    return found


def read_value(word: str) -> Any:
    """A number, or a word as YAML reads it."""
    return float(word) if re.fullmatch(r"\d[\d.]*(e-\d)?", word) else yaml.safe_load(word)


@pytest.mark.parametrize(
    ("plugin", "section", "rounds"),
    [
        ("clp", "10", ["associate"]),
        ("proca", "2", ["adapt"]),
        ("fada", "3", ["adversarial"]),
        ("pycda", "9", ["pyramid"]),
        ("bdl", "11", ["adapt-1", "translate-1"]),
    ],
)
def test_the_published_settings(plugin: str, section: str, rounds: list[str]) -> None:
    method = load_plugin(plugin)
    config = load_config("gta5-cityscapes", (), packages=(f"udacore_{plugin}", "udacore"), method_settings=method.settings)
    told = published_settings(plugin, section)
    names = [name for name in told if hasattr(config.rounds[rounds[0]].method, name)]
    assert len(names) > 4
    for name in names:
        assert told[name] in [getattr(config.rounds[each].method, name) for each in rounds], name
