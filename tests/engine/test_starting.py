"""What a round begins with: each word of `weights`, for the whole model and for a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError, DataError, UdaError
from udacore.models import build_segmenter

SOURCE = {"steps": 2, "draws": ["source"]}
STILL = {"steps": 1, "draws": ["source"], "parts": {"segmenter": {"optimizer": "SGD", "lr": 0}, "critic": {"optimizer": "SGD", "lr": 0}}}
"""A round that moves no parameter: its checkpoint shows with which it began."""


def parameters(run: Path, label: str, part: str = "segmenter") -> dict[str, torch.Tensor]:
    """Parameters of a checkpoint that belong to a part: buffers move in a forward."""
    model = torch.load(run / "checkpoints" / f"{label}.pt", weights_only=True)["model"]
    return {k: v for k, v in model.items() if k.startswith("critic.") == (part == "critic") and k.endswith(("weight", "bias"))}


def are_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == two.keys() != set()
    return all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="session")
def several(make_workshop: Any) -> Any:
    """A run whose later rounds begin with all kinds of weights."""
    workshop = make_workshop()
    best = {"steps": 4, "draws": ["source"], "keep": "best", "evaluate": {"target": {"every": 1}}}
    rounds = {
        "a": SOURCE, "b": best, "c": {**SOURCE, "steps": 3}, "follow": {**STILL, "weights": "previous"}, "choose": {**STILL, "weights": "best"},
        "named": {**STILL, "weights": "round a"}, "fresh": {**STILL, "weights": "initial"},
        "file": {**STILL, "weights": str(workshop.path / "first" / "checkpoints" / "2-c.pt")},
        "mixed": {**STILL, "weights": {"segmenter": "round a", "critic": "round c"}},
    }  # fmt: skip
    changes = {"plugin": str(workshop.method), "parts": {"critic": {"lr": 0.1}}, "evaluate": {"target": {"count": 2}}}
    workshop.run({**changes, "rounds": {name: rounds[name] for name in "abc"}}, name="first")
    workshop.run({**changes, "rounds": rounds}, name="all")
    return workshop.path / "all"


@pytest.mark.parametrize(
    ("label", "part", "origin"),
    [
        ("3-follow", "segmenter", "2-c"), ("3-follow", "critic", "2-c"), ("4-choose", "segmenter", "1-b-steps"), ("5-named", "segmenter", "0-a"),
        ("7-file", "segmenter", "2-c"), ("8-mixed", "segmenter", "0-a"), ("8-mixed", "critic", "2-c"),
    ],
)  # fmt: skip
def test_each_word_means_its_weights(several: Path, label: str, part: str, origin: str) -> None:
    assert are_equal(parameters(several, label, part), parameters(several, origin, part))
    others = [other for other in ("0-a", "2-c") if other != origin]
    assert not any(are_equal(parameters(several, label, part), parameters(several, other, part)) for other in others)


def test_initial_is_built_anew_from_seed_and_name(several: Path) -> None:
    fresh = parameters(several, "6-fresh")
    assert not any(are_equal(fresh, parameters(several, label)) for label in ("0-a", "1-b", "2-c"))


def test_what_no_file_holds_stays_as_built_and_is_listed(workshop: Any) -> None:
    workshop.run({"rounds": {"source": SOURCE}}, name="plain")
    path = workshop.path / "plain" / "checkpoints" / "0-source.pt"
    words = {"segmenter": str(path), "critic": "initial"}
    changes = {"plugin": str(workshop.method), "parts": {"critic": {}}, "rounds": {"x": {**STILL, "weights": words}}}
    alone = {**changes, "rounds": {"x": {**STILL, "weights": str(path)}}}
    with pytest.raises(ConfigError, match=r"holds nothing of part 'critic': .*; to leave .* weights: \{segmenter: \.\.\., critic: initial\}$"):
        workshop.run(alone, name="alone")
    workshop.run(changes, name="more")
    assert are_equal(parameters(workshop.path / "more", "0-x"), parameters(workshop.path / "plain", "0-source"))
    assert f"part 'segmenter': bank, mean, seen left as built: not in {path}" in (workshop.path / "more" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"model": {"backbone.conv1.weight": torch.zeros(1), "classifier.x": torch.zeros(1)}}, "weights of another architecture: of another shape: backbone"),
        ({"model": {"encoder.weight": torch.zeros(1)}}, "holds nothing of part 'segmenter': it begins with 'encoder.weight', the model with 'backbone."),
        (torch.zeros(3), "no state_dict of tensors but Tensor"),
        (None, "no such file of weights"),
    ],
    ids=["other shapes", "other names", "no mapping", "no file"],
)
def test_weights_that_do_not_fit_are_one_line(workshop: Any, content: Any, text: str) -> None:
    path = workshop.path / "other.pt"
    if content is not None:
        torch.save(content, path)
    with pytest.raises(DataError if "state_dict" in text else ConfigError) as caught:
        workshop.run({"rounds": {"source": {**SOURCE, "weights": str(path)}}})
    assert str(path) in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_previous_without_a_finished_round_is_told(workshop: Any) -> None:
    with pytest.raises(UdaError, match="round 'b': weights: previous, but no earlier round is finished in"):
        workshop.run({"rounds": {"a": SOURCE, "b": SOURCE}}, only="b")


MODEL = """
from udacore import hookimpl
from torch import nn

@hookimpl
def build_model():
    return {}
"""


@pytest.mark.parametrize(("built", "text"), [("{{}}", "must return a torch.nn.Module, got dict"), ("nn.Conv2d(3, 2, 1)", "the model lacks 'align_corners'")])
def test_a_model_that_is_none_is_refused(workshop: Any, built: str, text: str) -> None:
    plugin = workshop.write_method(MODEL.replace("{}", built.replace("{{}}", "{}")))
    with pytest.raises(UdaError, match=text):
        workshop.run({"plugin": str(plugin)})


def test_a_run_takes_the_backbone_of_a_network_with_other_classes(workshop: Any) -> None:
    theirs = build_segmenter(ModelConfig(name="small"), 19)
    torch.save({"state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}}, workshop.path / "w.pt")
    changes = {"rounds": {"a": {"steps": 1, "draws": ["source"], "weights": str(workshop.path / "w.pt"), "parts": {"segmenter": {"lr": 0}}}}}
    with pytest.raises(ConfigError, match="weights of another architecture"):
        workshop.run(changes)
    changes["rounds"]["a"]["weights_except"] = ["classifer"]
    with pytest.raises(ConfigError, match=r"rounds\.a\.weights_except: the model has no child 'classifer'; did you mean 'classifier'"):
        workshop.run(changes, force=True)
    changes["rounds"]["a"]["weights_except"] = ["classifier"]
    workshop.run(changes, force=True)
    state = torch.load(workshop.path / "run" / "checkpoints" / "0-a.pt", weights_only=True)["model"]
    assert torch.equal(state["backbone.conv1.weight"], theirs.state_dict()["backbone.conv1.weight"])
    log = (workshop.path / "run" / "log.txt").read_text()
    assert "part 'segmenter': classifier left as built" in log
    assert "the entry 'state_dict' and the prefix 'module.' taken off" in log
