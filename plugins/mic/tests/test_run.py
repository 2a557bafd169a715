"""All rounds of the presets for the embedded domains, cut to a few steps and images."""

from __future__ import annotations

import json

import pytest
import torch

from udacore.testing.runs import configure, train

SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
    *("rounds.source.steps=2", "rounds.source.batch=2", "rounds.adapt.steps=3", "rounds.adapt.batch=2", "evaluate.source=null"),
    *("rounds.adapt.source.sampler.min_pixels=2", "tensorboard=false", "log_every=1", "threads=1"),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The counts of the classes are kept with the test."""
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))


def run_small(folder, *overrides, preset="streets"):
    config = configure("mic", preset, (*SMALL, f"folder={folder}", "name=run", *overrides))
    done = train("mic", config)
    return done.folder, list(done.results)


def checkpoint(folder, name):
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def losses(folder, round):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {key.removeprefix("loss/") for row in rows if row["round"] == round for key in row if key.startswith("loss/")}


@pytest.mark.parametrize(
    ("preset", "terms"),
    [
        ("streets", {"source", "mixed", "masked"}),
        ("streets-daformer", {"source", "mixed"}),
        pytest.param("streets-hrda", {f"{name}{ending}" for name in ("source", "mixed") for ending in ("", "_detail")}, marks=pytest.mark.long),
    ],
)
def test_the_rounds_hand_the_network_and_its_teacher_on(tmp_path, preset, terms):
    folder, results = run_small(tmp_path, *(["method.detail_size=[32,16]"] if "hrda" in preset else []), preset=preset)
    assert losses(folder, "adapt") == terms
    begun, adapted = checkpoint(folder, "0-source"), checkpoint(folder, "1-adapt")
    assert [int(state["teacher.updates"]) for state in (begun, adapted)] == [2, 5]
    assert [(result.round, result.set) for result in results] == [("adapt", "target")]


def test_a_tiny_transformer_is_trained_at_two_scales_beside_its_frozen_copy(tmp_path):
    torch.manual_seed(0)
    mit = ("method.network=mit_tiny", "method.width=16", "method.detail_size=[32,32]", "method.mask_block=16", "rounds.source=null")
    size = tuple(f"{entry}.image_size=[64,64]" for entry in ("source", "target", "evaluate.target"))
    first, _ = run_small(tmp_path / "first", *mit, *size, "rounds.adapt.weights=initial", "rounds.adapt.steps=1")
    file = tmp_path / "backbone.pth"
    state = checkpoint(first, "0-adapt")
    torch.save({key: value for key, value in state.items() if key.startswith("backbone.")}, file)
    (tmp_path / "frozen.yaml").write_text(
        f"extends: streets\nplugin: mic\nmethod: {{feature_distance: 0.005}}\n"
        f"parts: {{imagenet: {{frozen: true}}}}\ninitial: {{segmenter: random, imagenet: {file}}}\n"
    )
    again = (*mit, *size, "rounds.adapt.weights=initial")
    folder, _ = run_small(tmp_path / "second", *again, preset=str(tmp_path / "frozen.yaml"))
    assert losses(folder, "adapt") == {
        "source", "source_detail", "feature_distance", "mixed", "mixed_detail", "masked", "masked_detail",
    }  # fmt: skip
    kept = checkpoint(folder, "0-adapt")
    assert not any(key.startswith("imagenet.") for key in kept)
    assert not any(key.startswith("teacher.network.imagenet") for key in kept)


def test_the_control_differs_in_nothing_but_the_weight_of_the_target(tmp_path):
    plain, _ = run_small(tmp_path / "plain", "rounds.source.steps=1", "rounds.adapt.steps=1")
    control, _ = run_small(tmp_path / "control", "control=true", "rounds.source.steps=1", "rounds.adapt.steps=1")
    for name, equal in (("0-source", True), ("1-adapt", False)):
        pair = checkpoint(plain, name), checkpoint(control, name)
        assert all(torch.equal(value, pair[1][key]) for key, value in pair[0].items()) == equal
