"""Frozen parts and tensors: filled from files of their own, never trained, in no
checkpoint, and verified on resume."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from udacore.config.resolve import load_config
from udacore.config.schema import ModelConfig, PartConfig, RoundConfig
from udacore.engine.optimisation.frozen import fill_frozen, find_frozen, share_frozen
from udacore.engine.results.scoring import score_checkpoint
from udacore.errors import ConfigError, DataError, UdaError
from udacore.methods.discovery import load_plugin
from udacore.models import OwnFiles, Teacher, build_segmenter
from udacore.testing import fast_checks
from udacore.testing.checks import FAST

METHOD = """
from copy import deepcopy
from pathlib import Path
import torch
from udacore import hookimpl
from udacore.losses import segmentation_loss
from udacore.models import Teacher, build_segmenter

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.reference = deepcopy(model.backbone)
    model.teacher = Teacher(model, 0.9)
    return model

@hookimpl
def source_loss(step):
    model, image = step.model, step.source.image
    if step.micro == 0:
        model.teacher.update(model)
    if step.index == 2 and step.round.name == "adapt" and Path(__file__).with_name("crash").exists():
        raise KeyboardInterrupt
    output, weight = model(image), next(model.reference.parameters())
    wanted = model.reference(image)
    step.record("sum", weight.double().sum())
    step.record("is_still", not (model.reference.training or weight.requires_grad or wanted.requires_grad))
    step.record("bits", torch.finfo(weight.dtype).bits + torch.finfo(wanted.dtype).bits)
    step.record("shared", model.teacher.network.reference is model.reference)
    return {"source": segmentation_loss(output.logits, step.source.label, model.align_corners), "distance": (output.features - wanted).square().mean()}

@hookimpl
def target_loss(step):
    return {}
"""
SMALL = ModelConfig(name="small")
FROZEN_STEM = {"segmenter": {"freeze": [r"^backbone\.(conv|bn|stem|layer1)"]}}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_segmenter(SMALL, 12)


def changes(workshop: Any, initial: Any, parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    rounds = {"source": {"steps": 4, "draws": ["source"]}, "adapt": {"steps": 4}}
    method = workshop.path / "method0.py"
    return {
        "plugin": str(method if method.exists() else workshop.write_method(METHOD)), "initial": initial, "parts": parts, "rounds": rounds,
        "log_every": 1, "save_every": 1, **more,
    }  # fmt: skip


def reference(workshop: Any, seed: int = 7, **settings: Any) -> dict[str, Any]:
    """A run with the backbone of another network as its frozen reference."""
    file = workshop.path / "reference.pt"
    torch.save(network(seed).backbone.state_dict(), file)
    return changes(workshop, {"segmenter": "random", "reference": str(file)}, {"reference": {"frozen": True, **settings}})


def saved(workshop: Any, run: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(workshop.path / run / "checkpoints" / f"{name}.pt", weights_only=True)
    return content


def rows(workshop: Any, run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workshop.path / run / "metrics.jsonl").read_text().splitlines()]


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def assert_equal(workshop: Any, *names: str) -> None:
    one, two = (saved(workshop, name, "1-adapt") for name in names)
    assert one["model"].keys() == two["model"].keys()
    assert all(torch.equal(value, two["model"][name]) for name, value in one["model"].items())
    assert one["frozen"] == two["frozen"]


@pytest.mark.parametrize(("dtype", "bits"), [(None, 64), ("bf16", 48)])
def test_a_frozen_part_is_its_file_in_every_step_and_in_no_checkpoint(workshop: Any, dtype: str | None, bits: int) -> None:
    given = reference(workshop, **({"dtype": dtype} if dtype else {}))
    workshop.run(given)
    file = workshop.path / "reference.pt"
    steps = [row for row in rows(workshop, "run") if "sum" in row]
    weight = next(network(7).backbone.parameters()).detach()
    expected = float((weight.bfloat16() if dtype else weight).double().sum())
    assert len(steps) == 8
    assert all(row["sum"] == pytest.approx(expected, rel=1e-6) for row in steps)
    assert all((row["is_still"], row["bits"], row["shared"]) == (1, bits, 1) for row in steps)
    for name in ("0-source-steps", "0-source", "1-adapt-steps", "1-adapt"):
        content = saved(workshop, "run", name)
        assert not [key for key in content["model"] if "reference" in key]
        assert content["frozen"] == {"reference": digest(file)}


def test_a_resumed_run_ends_bit_equal(workshop: Any) -> None:
    given = reference(workshop, dtype="bf16")
    workshop.run(given, name="whole")
    (workshop.path / "crash").touch()
    with pytest.raises(KeyboardInterrupt):
        workshop.run(given, name="broken")
    (workshop.path / "crash").unlink()
    assert saved(workshop, "broken", "last")["frozen"] == {"reference": digest(workshop.path / "reference.pt")}
    workshop.run(given, name="broken", resume=True)
    assert_equal(workshop, "whole", "broken")
    sums = [[row["sum"] for row in rows(workshop, name) if "sum" in row] for name in ("whole", "broken")]
    assert sums[0] == sums[1]


def test_a_changed_file_is_refused_on_resume_even_if_all_else_is_accepted(workshop: Any) -> None:
    given = reference(workshop)
    (workshop.path / "crash").touch()
    with pytest.raises(KeyboardInterrupt):
        workshop.run(given)
    (workshop.path / "crash").unlink()
    reference(workshop, seed=8)
    with pytest.raises(UdaError, match=r"rounds\.source\.initial\.reference: the content of the file"):
        workshop.run(given, resume=True)
    with pytest.raises(DataError, match=r"last\.pt: the frozen weights of the part 'reference' are in a file that has changed: its SHA-256 began with"):
        workshop.run(given, anyway=True)


def test_a_finished_run_is_scored_with_its_file_and_not_without(workshop: Any) -> None:
    given = reference(workshop)
    (result,) = workshop.run(given)
    method = load_plugin(given["plugin"])
    config = load_config(str(workshop.path / "run" / "config.yaml"), (), packages=(), method_settings=method.settings)
    (again,) = score_checkpoint(config, method, folder=workshop.path / "run", only=None, checkpoint=None)
    assert repr(again.scores.iou) == repr(result.scores.iou)  # with NaN among them
    reference(workshop, seed=8)
    with pytest.raises(DataError, match="has changed"):
        score_checkpoint(config, method, folder=workshop.path / "run", only=None, checkpoint=None)
    (workshop.path / "reference.pt").unlink()
    with pytest.raises(ConfigError, match=r"reference\.pt: no such file of weights"):
        score_checkpoint(config, method, folder=workshop.path / "run", only=None, checkpoint=None)


def test_frozen_tensors_stay_those_of_the_file_and_are_left_out_of_every_round(workshop: Any) -> None:
    file = workshop.path / "start.pt"
    start = network(7).state_dict()
    torch.save(start, file)
    given = changes(workshop, str(file), FROZEN_STEM)
    workshop.run(given, name="whole")
    (workshop.path / "crash").touch()
    with pytest.raises(KeyboardInterrupt):
        workshop.run(given, name="broken")
    (workshop.path / "crash").unlink()
    workshop.run(given, name="broken", resume=True)
    assert_equal(workshop, "whole", "broken")
    model = build_model(given)
    frozen = set(find_frozen(model, RoundConfig(parts={"segmenter": PartConfig(freeze=tuple(FROZEN_STEM["segmenter"]["freeze"]))})))
    assert 5 < len(frozen) < len(dict(model.named_parameters()))
    assert all(name in dict(model.named_parameters()) for name in frozen)  # statistics move, so they are saved
    for name in ("0-source", "1-adapt"):
        content = saved(workshop, "whole", name)
        assert set(model.state_dict()) - set(content["model"]) == frozen
        assert content["frozen"] == {"segmenter": digest(file)}
        assert not torch.equal(content["model"]["backbone.layer4.0.conv1.weight"], start["backbone.layer4.0.conv1.weight"])
    # the teacher's copy of them is memory, and shows what they were in every step
    teacher = saved(workshop, "whole", "1-adapt")["model"]
    assert all(torch.equal(teacher[f"teacher.network.{name}"], start[name]) for name in frozen)


def build_model(given: dict[str, Any]) -> nn.Module:
    model = network(0)
    model.reference = copy.deepcopy(model.backbone)
    model.teacher = Teacher(model)
    return model


def test_what_no_file_holds_is_saved_though_it_is_frozen(workshop: Any) -> None:
    """Weights as built, and those that an earlier round has trained."""
    workshop.run(changes(workshop, "random", FROZEN_STEM), name="random")
    assert "frozen" not in saved(workshop, "random", "1-adapt")
    one, two = (saved(workshop, "random", name)["model"] for name in ("0-source", "1-adapt"))
    assert torch.equal(one["backbone.layer1.0.conv1.weight"], two["backbone.layer1.0.conv1.weight"])
    file = workshop.path / "start.pt"
    torch.save(network(7).state_dict(), file)
    given = changes(workshop, str(file), {})
    given["rounds"]["adapt"]["parts"] = FROZEN_STEM
    workshop.run(given, name="later")
    one, two = (saved(workshop, "later", name)["model"] for name in ("0-source", "1-adapt"))
    assert torch.equal(one["backbone.layer1.0.conv1.weight"], two["backbone.layer1.0.conv1.weight"])
    assert not torch.equal(one["backbone.layer1.0.conv1.weight"], network(7).state_dict()["backbone.layer1.0.conv1.weight"])
    assert not torch.equal(one["backbone.layer4.0.conv1.weight"], two["backbone.layer4.0.conv1.weight"])


def test_a_checkpoint_of_another_run_is_taken_with_the_file_that_it_was_made_with_alone(workshop: Any) -> None:
    given = reference(workshop)
    workshop.run(given, name="first")
    given["rounds"] = {"adapt": {"steps": 1, "weights": str(workshop.path / "first" / "checkpoints" / "1-adapt.pt")}}
    workshop.run(given, name="second")
    assert [row["sum"] for row in rows(workshop, "second") if "sum" in row] == [row["sum"] for row in rows(workshop, "first") if "sum" in row][:1]
    reference(workshop, seed=8)
    with pytest.raises(DataError, match=r"1-adapt\.pt: the frozen weights of the part 'reference' are in a file that has changed"):
        workshop.run(given, name="third")


def test_a_method_with_a_frozen_part_keeps_the_contract(workshop: Any) -> None:
    file = workshop.write(reference(workshop, dtype="bf16"), "contract")
    found = list(fast_checks(str(workshop.path / "method0.py"), preset=str(file)))
    assert [result for result in found if not result.ok] == []
    assert len(found) > len(FAST)


@pytest.mark.parametrize("held", ["backbone", "network"])
def test_a_reference_may_be_filled_from_a_whole_network(held: str, tmp_path: Path) -> None:
    torch.save(network(7).state_dict(), tmp_path / "whole.pt")
    model = network(0)
    model.reference = copy.deepcopy(model.backbone if held == "backbone" else model)
    config = RoundConfig(parts={"reference": PartConfig(frozen=True)}, initial={"reference": str(tmp_path / "whole.pt"), "segmenter": "random"}, model=SMALL)
    frozen = fill_frozen(model, config)
    wanted = network(7).backbone if held == "backbone" else network(7)
    assert all(torch.equal(value, model.reference.state_dict()[name]) for name, value in wanted.state_dict().items())
    assert frozen.entries == {name for name in model.state_dict() if name.startswith("reference.")}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in network(0).state_dict().items())


class OwnBackbone(OwnFiles, nn.Module):
    """A backbone whose published files hold its entries, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def convert_weights(self, state: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
        return {key: value for key, value in state.items() if not key.startswith("head.")}


@pytest.mark.parametrize("published", [True, False])
def test_a_reference_may_be_filled_from_a_file_that_its_backbone_reads_itself(published: bool, tmp_path: Path) -> None:
    model = network(0)
    model.reference = OwnBackbone()
    held = {"conv.weight": torch.rand(4, 3, 3, 3), "conv.bias": torch.rand(4)}
    torch.save({**held, "head.weight": torch.zeros(9, 4)} if published else held, tmp_path / "own.pth")
    initial = {"segmenter": "random", "reference": str(tmp_path / "own.pth")}
    frozen = fill_frozen(model, RoundConfig(initial=initial, parts={"segmenter": PartConfig(), "reference": PartConfig(frozen=True)}))
    assert frozen.entries == {"reference.conv.weight", "reference.conv.bias"}
    assert torch.equal(model.reference.conv.weight, held["conv.weight"])


def test_copies_of_the_network_inside_of_it_share_its_frozen_parts() -> None:
    model = network(0)
    model.reference = copy.deepcopy(model.backbone)
    model.twin, model.teacher = copy.deepcopy(model), Teacher(model)
    before = sum(value.numel() for value in model.state_dict().values())
    share_frozen(model, RoundConfig(parts={"reference": PartConfig(frozen=True)}))
    assert model.twin.reference is model.teacher.network.reference is model.reference
    one = sum(value.numel() for value in model.reference.state_dict().values())
    assert sum(value.numel() for value in model.state_dict().values()) == before - 2 * one
    whole = copy.deepcopy(model)
    assert whole.twin.reference is whole.reference is not model.reference


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no file": ({"parts": {"reference": {"frozen": True}}, "initial": "imagenet"}, "parts.reference.frozen: needs a file: say which under initial.reference"),
    "no file for it": (
        {"parts": {"reference": {"frozen": True}}, "initial": {"segmenter": "random"}},
        "parts.reference.frozen: needs a file: say which under initial.reference",
    ),
    "a file that is not there": (
        {"parts": {"reference": {"frozen": True}}, "initial": {"reference": "gone.pt", "segmenter": "random"}}, "initial.reference: gone.pt: no such file",
    ),
    "the segmenter": ({"parts": {"segmenter": {"frozen": True}}}, "parts.segmenter.frozen: the segmenter is no child"),
    "trained": ({"parts": {"reference": {"frozen": True}}, "trains": ["reference"]}, "trains: the part 'reference' is frozen"),
    "filled twice": (
        {"parts": {"reference": {"frozen": True}}, "weights": {"segmenter": "initial", "reference": "initial"}},
        "weights.reference: the part is frozen, so it is filled from initial.reference in every round",
    ),
    "a precision of a trained part": ({"parts": {"segmenter": {"dtype": "bf16"}}}, "parts.segmenter.dtype: is for a part with frozen: true"),
    "no expression": ({"parts": {"segmenter": {"freeze": ["("]}}}, "parts.segmenter.freeze: '(' is no regular expression"),
    "nothing of that name": ({"parts": {"segmenter": {"freeze": ["^bakbone"]}}}, "parts.segmenter.freeze: no parameter matches '^bakbone'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_one_line_before_the_first_step(name: str, workshop: Any) -> None:
    changed, words = REFUSED[name]
    given = {**changes(workshop, "random", {}), **changed}
    with pytest.raises(ConfigError) as caught:
        workshop.run(given)
    assert words in str(caught.value)
    assert not (workshop.path / "run" / "checkpoints" / "last.pt").exists()
