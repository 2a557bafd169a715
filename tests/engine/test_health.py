"""A run that goes wrong stops, and says where and since when."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from udacore.engine.health import Health
from udacore.errors import UdaError

BROKEN = """
import torch
from udacore import hookimpl, source_only

@hookimpl
def source_loss(step):
    loss = source_only.source_loss(step)["source"]
    return {"good": loss, "bad": loss * (float("nan") if step.index == WHEN else 1.0)}
"""

STEEP = BROKEN.replace('loss * (float("nan") if step.index == WHEN else 1.0)', "1e-30 * (0 * loss).abs().sqrt() if step.index == WHEN else loss")
"""A loss whose value is finite and whose gradient is not."""


@pytest.mark.parametrize("every", [1, 4, 100])
def test_the_first_bad_step_is_named_with_term_images_and_last_good_checkpoint(workshop: Any, every: int) -> None:
    plugin = workshop.write_method(BROKEN.replace("WHEN", "6"))
    with pytest.raises(UdaError) as caught:
        workshop.run({"plugin": str(plugin), "log_every": every, "save_every": 5, "rounds": {"source": {"steps": 9, "draws": ["source"]}}})
    found = re.fullmatch(r"round 'source', step 6: not finite: (.*); images: (.*); last good checkpoint: (.*)", str(caught.value))
    assert found
    assert found[1].startswith("loss 'bad'")
    assert "'good'" not in found[1]
    assert len(found[2].split(", ")) == 4
    assert all(name.startswith("train/000") for name in found[2].split(", "))
    assert found[3] == str(workshop.path / "run" / "checkpoints" / "last.pt")
    assert torch.load(found[3], weights_only=True)["step"] == 5


def test_a_gradient_that_is_not_finite_stops_the_run(workshop: Any) -> None:
    plugin = workshop.write_method(STEEP.replace("WHEN", "1"))
    with pytest.raises(UdaError, match=r"step 1: not finite: gradient of segmenter; images: train/.*; last good checkpoint: none yet"):
        workshop.run({"plugin": str(plugin), "rounds": {"source": {"steps": 5, "draws": ["source"]}}})


def test_a_broken_model_never_becomes_the_best(workshop: Any) -> None:
    plugin = workshop.write_method(BROKEN.replace("WHEN", "1"))
    best = {"steps": 4, "draws": ["source"], "keep": "best", "evaluate": {"target": {"every": 2}}}
    with pytest.raises(UdaError, match="step 1: not finite: loss 'bad'"):
        workshop.run({"plugin": str(plugin), "log_every": 100, "save_every": 100, "rounds": {"source": best}})
    assert not (workshop.path / "run" / "checkpoints" / "best.pt").exists()


def test_only_the_first_bad_step_of_a_term_counts() -> None:
    health = Health()
    for step in range(5):
        health.see_names([f"image {step}"], step)
        health.see("loss 'x'", torch.tensor(float("inf") if step >= 2 else 1.0), step)
    with pytest.raises(UdaError, match="step 2: not finite: loss 'x'; images: image 2; last good checkpoint: none"):
        health.check("a", "none")
