"""Adaptation, not just more training: a short FADA run beats its matched control, and two mutants do not.

The short pair P of the embedded domains (algorithms/streets 5): a source round of 300 steps, shared by all,
then alignment and self-training under stored batch-norm statistics. Steps are limited, never seconds.
"""

from __future__ import annotations

import attrs
import pytest

from udacore.plugins import load_plugin
from udacore.testing.mutants import write_mutant
from udacore.testing.runs import configure, train

pytestmark = pytest.mark.long

SHORT = (
    "seed=11", "tensorboard=false", "log_every=100", "threads=1",
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("pair=P", "data_seed=11")),
    *(f"{entry}.count=200" for entry in ("source", "target")),
    "source.transform.zoom=null", "source.transform.streets_jitter=null",
    "rounds.adversarial.steps=120", "rounds.distill.steps=80",
)  # fmt: skip

GAIN = 0.005
"""Least paired difference in mIoU that counts as adaptation (algorithms/streets 5)."""

def target_miou(config: object, method: object) -> float:
    return next(result.scores.miou for result in train(method, config).results if result.set == "target")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """mIoU on the target by run; all go on from one source round."""
    folder = tmp_path_factory.mktemp("adaptation")
    config = configure("fada", "streets", (*SHORT, "rounds.source.steps=300", f"folder={folder}", "name=fada"))
    found = {"fada": target_miou(config, "fada")}
    checkpoints = folder / "fada" / "checkpoints"
    begun = ("rounds.source.steps=0", f"rounds.source.weights={checkpoints / '0-source.pt'}", f"folder={folder}")
    control = configure("fada", "streets", (*SHORT, *begun, "name=control", "control=true"))
    found["control"] = target_miou(control, "fada")
    # That a loss of 0 and a loss times 0 are the same needs few steps to be seen.
    brief = configure("fada", "streets", (*SHORT, *begun, "rounds.adversarial.steps=5", "rounds.distill.steps=5", "name=brief"))
    found["brief control"] = target_miou(attrs.evolve(brief, control=True), "fada")
    file = str(write_mutant(folder, "udacore_fada", "zeroed"))
    found["brief zeroed"] = target_miou(attrs.evolve(brief, plugin=file, name="zeroed"), load_plugin(file))
    file = str(write_mutant(folder, "udacore_fada", "shuffled"))
    aligned = ("rounds.adversarial=null", f"rounds.source.weights={checkpoints / '1-adversarial.pt'}")
    words = tuple(word for word in SHORT if "adversarial" not in word)
    shuffled = configure("fada", "streets", (*words, *begun, *aligned, "name=shuffled"))
    found["shuffled"] = target_miou(attrs.evolve(shuffled, plugin=file), load_plugin(file))
    return found


def is_adapted(scores: dict[str, float], row: str) -> bool:
    return scores[row] - scores["control"] >= GAIN


def test_fada_gains_over_its_matched_control(scores: dict[str, float]) -> None:
    assert is_adapted(scores, "fada"), scores


def test_pseudo_labels_in_a_random_order_are_no_adaptation(scores: dict[str, float]) -> None:
    assert not is_adapted(scores, "shuffled"), scores


def test_the_control_is_the_method_with_its_target_losses_multiplied_by_zero(scores: dict[str, float]) -> None:
    assert scores["brief zeroed"] == scores["brief control"]
