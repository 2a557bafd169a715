"""All rounds of the preset for the embedded domains, cut to a few steps and images."""

from __future__ import annotations

import pytest
import torch
from udacore_proca.checkpoints import FEATURE_FILE

from udacore.testing.runs import configure, train

SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
    *("rounds.source.steps=3", "rounds.source.batch=2", "batch=2", "rounds.adapt.steps=3", "rounds.distill.steps=2"),
    *("rounds.distill-2=null", "rounds.distill-3=null", "rounds.distill-4=null", "tensorboard=false", "log_every=1"),
)


def run_small(folder, *overrides):
    words = (*SMALL, f"folder={folder}", "name=run", *overrides)
    config = configure("proca", "streets", words)
    done = train("proca", config)
    return done.folder, list(done.results)


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def test_the_rounds_hand_prototypes_and_labels_on(tmp_path):
    folder, results = run_small(tmp_path)
    begun, adapted = checkpoint(folder, "0-source"), checkpoint(folder, "1-adapt")
    pixels = [state["prototypes.feature.count"].sum().item() for state in (begun, adapted)]
    assert 0 < pixels[0] < pixels[1]
    assert not torch.equal(begun["prototypes.feature.mean"], adapted["prototypes.feature.mean"])
    assert (folder / "rounds" / "0-source" / FEATURE_FILE).is_file()
    assert len(list((folder / "rounds" / "1-adapt" / "labels").glob("**/*.png"))) == 4
    assert [(result.round, result.set) for result in results] == [("distill", "target")]


@pytest.mark.parametrize("overrides", [("method.projection=linear",), ("method.projection=convmlp",)])
def test_the_memory_bank_passes_through_all_rounds(tmp_path, overrides):
    bank = ("method.variant=memory_bank", "method.bank_rows=5", "method.embedding=6", "method.anchors_per_class=2")
    folder, _ = run_small(tmp_path, "rounds.source.method.initialise_prototypes=false", *bank, *overrides)
    before, after = checkpoint(folder, "0-source"), checkpoint(folder, "1-adapt")
    assert not torch.equal(before["bank.pixel_queue"], after["bank.pixel_queue"])
    changed = [key for key, value in before.items() if key.startswith("projection.") and not torch.equal(value, after[key])]
    assert any(key.endswith("weight") for key in changed)


def test_the_control_differs_in_nothing_but_the_weight_of_the_target(tmp_path):
    plain, _ = run_small(tmp_path / "plain")
    control, _ = run_small(tmp_path / "control", "control=true")
    for name, equal in (("0-source", True), ("1-adapt", False)):
        pair = checkpoint(plain, name), checkpoint(control, name)
        assert all(torch.equal(value, pair[1][key]) for key, value in pair[0].items()) == equal
