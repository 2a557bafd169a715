"""Adaptation, not just more training: a short ProCA run beats its matched control, and two mutants do not.

The short pair P of the embedded domains (algorithms/streets 5): a source round of 300 steps, shared by all,
then adaptation and self-training under stored batch-norm statistics. Steps are limited, never seconds.
"""

from __future__ import annotations

import attrs
import pytest

from udacore.cli.arguments import read_run
from udacore.engine.run import run
from udacore.plugins import load_plugin
from udacore.testing.mutants import write_mutant

pytestmark = pytest.mark.long

SHORT = (
    "streets", "seed=11", "tensorboard=false", "log_every=100",
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("pair=P", "data_seed=11")),
    *(f"{entry}.count=200" for entry in ("source", "target")),
    "source.transform.zoom=null", "source.transform.streets_jitter=null",
    "rounds.adapt.steps=60", "rounds.distill.steps=100",
    "rounds.distill-2=null", "rounds.distill-3=null", "rounds.distill-4=null",
)  # fmt: skip

GAIN = 0.015
"""Least paired difference in mIoU that counts as adaptation (algorithms/streets 5)."""


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """mIoU on the target by run; all go on from one source round."""
    folder = tmp_path_factory.mktemp("adaptation")
    method, config = read_run("proca", (*SHORT, "rounds.source.steps=300", f"folder={folder}", "name=proca"))
    found = {"proca": target_miou(config, method)}
    checkpoints = folder / "proca" / "checkpoints"
    begun = ("rounds.source.steps=0", f"rounds.source.weights={checkpoints / '0-source.pt'}")
    _, control = read_run("proca", (*SHORT, *begun, f"folder={folder}", "name=control", "control=true"))
    found["control"] = target_miou(control, method)
    file = str(write_mutant(folder, "udacore_proca", "shuffled"))
    words = tuple(word for word in SHORT if not word.startswith("rounds.adapt."))  # that round makes no labels: the mutant's is ProCA's
    adapted = ("rounds.source.steps=0", f"rounds.source.weights={checkpoints / '1-adapt.pt'}", "rounds.adapt=null")
    _, shuffled = read_run("proca", (*words, *adapted, f"folder={folder}", "name=shuffled"))
    found["shuffled"] = target_miou(attrs.evolve(shuffled, plugin=file), load_plugin(file))
    # That a loss of 0 and a loss times 0 are the same needs few steps to be seen.
    _, brief = read_run("proca", (*SHORT, *begun, "rounds.adapt.steps=5", "rounds.distill.steps=5", f"folder={folder}", "name=brief"))
    found["brief control"] = target_miou(attrs.evolve(brief, control=True), method)
    file = str(write_mutant(folder, "udacore_proca", "zeroed"))
    found["brief zeroed"] = target_miou(attrs.evolve(brief, plugin=file, name="zeroed"), load_plugin(file))
    return found


def target_miou(config: object, method: object) -> float:
    return next(result.scores.miou for result in run(config, method) if result.set == "target")  # type: ignore[arg-type]


def is_adapted(scores: dict[str, float], row: str) -> bool:
    return scores[row] - scores["control"] >= GAIN


def test_proca_gains_over_its_matched_control(scores: dict[str, float]) -> None:
    assert is_adapted(scores, "proca"), scores


def test_pseudo_labels_in_a_random_order_are_no_adaptation(scores: dict[str, float]) -> None:
    assert not is_adapted(scores, "shuffled"), scores


def test_the_control_is_the_method_with_its_target_losses_multiplied_by_zero(scores: dict[str, float]) -> None:
    assert scores["brief zeroed"] == scores["brief control"]
