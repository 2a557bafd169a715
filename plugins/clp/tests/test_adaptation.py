"""More than further training: a short PLCA run beats its matched control, and two mutants do not.

The short pair P of the embedded domains (algorithms/streets 5): a source round of 300 steps, shared by all,
then association. Scored by aggregated inference, as the method is published: after so few steps the
association shows there, and hardly in the plain network. It shows that similar pixels come to agree, not that
trust by labels matters: with labels in a random order the gain is as large at this size (see the plugin's
page). So the mutant is one whose cycles go astray: from each source pixel to any target pixel, and back to
any source pixel. Steps are limited, never seconds.
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
    "rounds.associate.steps=80", "evaluate.target.head=aggregated", "evaluate.target.upsample=probability",
)  # fmt: skip

ASTRAY = '''"""PLCA whose hops lead to any pixel, not to the most similar one."""
from unittest import mock
import torch
import udacore_clp as method
from udacore_clp import *
from udacore import hookimpl

@hookimpl
def target_loss(step):
    def anywhere(source, target):
        pick = lambda high, count: torch.randint(high, (count,), generator=step.generator)
        return pick(target.count, source.count), pick(source.count, target.count)

    with mock.patch("udacore_clp.association.find_hops", anywhere):
        return method.target_loss(step=step)
'''

GAIN = 0.015
"""Least paired difference in mIoU that counts; seed 11 gave 2.7 points (36.1 to 33.3)."""


def target_miou(config: object, method: object) -> float:
    return next(result.scores.miou for result in train(method, config).results if result.set == "target")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """mIoU on the target by run; all go on from one source round."""
    folder = tmp_path_factory.mktemp("adaptation")
    config = configure("clp", "streets", (*SHORT, "rounds.source.steps=300", f"folder={folder}", "name=clp"))
    found = {"clp": target_miou(config, "clp")}
    begun = ("rounds.source.steps=0", f"rounds.source.weights={folder / 'clp' / 'checkpoints' / '0-source.pt'}", f"folder={folder}")
    control = configure("clp", "streets", (*SHORT, *begun, "name=control", "control=true"))
    found["control"] = target_miou(control, "clp")
    (folder / "astray.py").write_text(ASTRAY)
    astray = configure("clp", "streets", (*SHORT, *begun, "name=astray"))
    file = str(folder / "astray.py")
    found["astray"] = target_miou(attrs.evolve(astray, plugin=file), load_plugin(file))
    brief = (*SHORT, *begun, "rounds.associate.steps=5", "evaluate.target.head=null", "evaluate.target.upsample=logits")
    control = configure("clp", "streets", (*brief, "name=brief-control", "control=true"))
    zeroed = configure("clp", "streets", (*brief, "name=brief-zeroed"))
    file = str(write_mutant(folder, "udacore_clp", "zeroed"))
    found["brief control"] = target_miou(control, "clp")
    found["brief zeroed"] = target_miou(attrs.evolve(zeroed, plugin=file), load_plugin(file))
    return found


def test_plca_gains_over_its_matched_control(scores: dict[str, float]) -> None:
    assert scores["clp"] - scores["control"] >= GAIN, scores


def test_cycles_that_go_astray_are_no_adaptation(scores: dict[str, float]) -> None:
    assert scores["astray"] - scores["control"] < GAIN, scores


def test_the_control_is_the_method_with_its_target_losses_multiplied_by_zero(scores: dict[str, float]) -> None:
    assert scores["brief zeroed"] == scores["brief control"]
