"""The benchmark of a few target labels: its runs are what its table says, and its section stands beside others."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from udacore.config.sets import count_images
from udacore.testing.runs import configure

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("few_labels")


@pytest.mark.parametrize("plugin", ["clp", "pycda", "fada", "proca"])
def test_every_round_that_draws_the_source_has_one_labelled_target_image_in_four(benchmark: Any, plugin: str) -> None:
    rounds = configure(plugin, "streets", benchmark.with_labels(25)).rounds
    assert benchmark.ROUNDS[plugin] in rounds
    for round in rounds.values():
        assert {name: (own.domain, own.count) for name, own in round.source.sets.items()} == {"clear": (None, None), "few": ("target", 25)}
        if "source" in round.draws:
            assert count_images(round.source.sets, round.batch)["few"] * 4 == round.batch
    assert not any(round.source.sets for round in configure(plugin, "streets", benchmark.with_labels(0)).rounds.values())


def test_the_table_has_a_row_for_each_share_and_says_what_was_reduced(benchmark: Any) -> None:
    shares = [Fraction(0), Fraction(1, 64)]
    arguments = argparse.Namespace(
        seeds=[1, 2], plugins=["clp"], labels=shares, source_steps=300, steps=150, overrides=["threads=1", "source.image_size=[64,32]"]
    )
    scores = {("clp", labels, control): [20.0 + 10 * (not control), 22.0 + 14 * (not control)] for labels in shares for control in (True, False)}
    text = benchmark.report(scores, arguments)
    assert "| 0 (0) | 21.0 ± 1.4 | 33.0 ± 4.2 | +12.0 ± 2.8 |" in text
    assert "| 1/64 (6) |" in text
    assert "Reduced: fewer steps than the table above, source.image_size=[64,32]. These figures compare with each other alone." in text


def test_a_section_is_replaced_and_the_others_stay(benchmark: Any) -> None:
    sections = benchmark.sections
    text = "# Results\n\ntable\n"
    assert sections.own_sections(text) == ""
    both = sections.with_section(sections.with_section(text, "One", "first"), "Two", "second")
    assert both == "# Results\n\ntable\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"
    assert sections.with_section(both, "One", "third") == "# Results\n\ntable\n\n## Two\n\nsecond\n\n## One\n\nthird\n"
    assert sections.own_sections(both) == "\n## One\n\nfirst\n\n## Two\n\nsecond\n"
