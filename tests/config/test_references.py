"""The words of a round are read in one place, and every reader acts on the same value."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from udacore.config import references
from udacore.config.references import (
    Best,
    File,
    Folder,
    ImageNet,
    Initial,
    NoLabels,
    OfRound,
    Own,
    Previous,
    Random,
    images_of,
    initial_of,
    labels_of,
    list_weights,
    parse_weights,
    weights_of,
)  # fmt: skip
from udacore.config.schema import RoundConfig
from udacore.testing.runs import configure, train

TINY = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("image_size=[64,32]", "count=3")),
    "tensorboard=false", "workers=0", "threads=1", "device=cpu", "batch=1", "evaluate.target.every=0",
    *(f"rounds.{name}.{word}" for name in ("source", "adapt") for word in ("steps=1", "batch=1")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("initial", Initial()), (" best ", Best()), ("previous", Previous()), ("round source", OfRound("source")),
        ("round  source", OfRound("source")), ("  round\tsource", File("  round\tsource")), ("round", File("round")),
        ("a/b c.pt", File("a/b c.pt")),
    ],
)  # fmt: skip
def test_a_word_of_weights_has_one_value(word: str, value: object) -> None:
    assert parse_weights(word) == value


def test_a_part_without_a_word_has_the_default_of_its_round() -> None:
    config = RoundConfig(weights={"segmenter": "w.pt"}, initial={"critic": "c.pt"})
    assert weights_of(config, "segmenter", first=True) == File("w.pt")
    assert weights_of(config, "critic", first=True) == Initial()
    assert weights_of(config, "critic", first=False) == Previous()
    assert (initial_of(config, "segmenter"), initial_of(config, "critic")) == (ImageNet(), File("c.pt"))
    assert initial_of(RoundConfig(initial="c.pt"), "critic") == Random()
    assert list(list_weights(config, first=True)) == [("weights.segmenter", File("w.pt")), ("initial.critic", File("c.pt"))]
    assert list(list_weights(config, first=False)) == [("weights.segmenter", File("w.pt"))]


def test_what_a_round_does_not_draw_it_does_not_read() -> None:
    def rounds(**changes: object) -> dict[str, RoundConfig]:
        base = RoundConfig()
        source = attrs.evolve(base.source, images="first")
        target = attrs.evolve(base.target, labels="make")
        return {"first": base, "second": attrs.evolve(base, source=source, target=target, **changes)}

    both, source, target = rounds(), rounds(draws=("source",)), rounds(draws=("target",))
    assert (images_of(both, "second"), labels_of(both, "second")) == (OfRound("first"), OfRound("first"))
    assert (images_of(source, "second"), labels_of(source, "second")) == (OfRound("first"), NoLabels())
    assert (images_of(target, "second"), labels_of(target, "second")) == (Own(), OfRound("first"))
    given = {"first": RoundConfig(target=attrs.evolve(RoundConfig().target, labels="d/labels"))}
    assert labels_of(given, "first") == Folder("d/labels")


def test_a_second_blank_does_not_end_a_run_after_its_first_round(tmp_path: Path) -> None:
    words = (*TINY, f"folder={tmp_path}", "name=run", "rounds.adapt.weights=round  source")
    done = train("source-only", configure("source-only", "streets-adapt", words))
    assert {result.round for result in done.results} == {"adapt"}


def test_labels_that_no_round_reads_are_not_made(tmp_path: Path) -> None:
    words = (*TINY, f"folder={tmp_path}", "rounds.adapt.draws=[source]", "rounds.adapt.target.labels=make")
    done = train("source-only", configure("source-only", "streets-adapt", (*words, "name=run")))
    assert {result.round for result in done.results} == {"adapt"}
    assert not list((tmp_path / "run").rglob("labels"))


def test_no_word_that_means_something_is_the_name_of_a_round() -> None:
    assert {"own", "none", "make", "initial", "previous", "best"} == set(references.RESERVED)
