"""Adaptation, not just more training: a short PyCDA run beats its matched control, and two mutants do not.

The short pair P of the embedded domains (algorithms/streets 5): a source round of 300 steps, shared by all,
then the pyramid and the conversion. Steps are limited, never seconds. PyCDA asks for no pseudo labels
beforehand, so the shuffled mutant puts the answers on the target into a random order within its own hook.
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
    "rounds.pyramid.steps=90", "rounds.convert.steps=20",
)  # fmt: skip

GAIN = 0.005
"""Least paired difference in mIoU that counts as adaptation (algorithms/streets 5)."""

SHUFFLED = '''"""udacore_pycda, whose confident answers for pixels and squares are learned at other places than they were given."""
import torch
import torch.nn.functional as F
import udacore_pycda as method
from udacore_pycda import *
from udacore import hookimpl
from udacore.losses import cross_entropy, upsample


@hookimpl
def target_loss(step):
    if step.settings.adapt != "pyramid":
        return method.target_loss(step)
    logits = upsample(step.model(step.target.image).logits, tuple(step.target.image.shape[-2:]), step.model.align_corners)
    losses = {}
    for side, answers in pyramid.pseudo_labels(logits.detach(), step.target.valid, step.settings.threshold, step.settings.box_sizes).items():
        label = answers.label.where(answers.selected, 255).flatten()
        label = label[torch.randperm(len(label), generator=step.generator)].view_as(answers.label)
        losses[f"side {side}"] = cross_entropy(F.avg_pool2d(logits, side) if side > 1 else logits, label)
    return losses
'''


def target_miou(config: object, method: object) -> float:
    return next(result.scores.miou for result in train(method, config).results if result.set == "target")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """mIoU on the target by run; all go on from one source round."""
    folder = tmp_path_factory.mktemp("adaptation")
    config = configure("pycda", "streets", (*SHORT, "rounds.source.steps=300", f"folder={folder}", "name=pycda"))
    found = {"pycda": target_miou(config, "pycda")}
    begun = ("rounds.source.steps=0", f"rounds.source.weights={folder / 'pycda' / 'checkpoints' / '0-source.pt'}", f"folder={folder}")
    again = configure("pycda", "streets", (*SHORT, *begun, "name=again"))
    found["control"] = target_miou(attrs.evolve(again, control=True), "pycda")
    zeroed = write_mutant(folder, "udacore_pycda", "zeroed")
    (folder / "shuffled.py").write_text(SHUFFLED)
    for file in (str(zeroed), str(folder / "shuffled.py")):
        name = file.removesuffix(".py").rpartition("/")[2]
        found[name] = target_miou(attrs.evolve(again, plugin=file, name=name), load_plugin(file))
    return found


def is_adapted(scores: dict[str, float], row: str) -> bool:
    return scores[row] - scores["control"] >= GAIN


def test_pycda_gains_over_its_matched_control(scores: dict[str, float]) -> None:
    assert is_adapted(scores, "pycda"), scores


@pytest.mark.parametrize("mutant", ["zeroed", "shuffled"])
def test_a_mutant_is_no_adaptation(scores: dict[str, float], mutant: str) -> None:
    assert not is_adapted(scores, mutant), scores


def test_the_control_is_the_method_with_its_target_losses_multiplied_by_zero(scores: dict[str, float]) -> None:
    assert scores["zeroed"] == scores["control"]
