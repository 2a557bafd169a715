"""Parts and their optimisers: who belongs where, at which rate, in which mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from udacore.config.schema import PartConfig, RoundConfig, ScheduleConfig
from udacore.engine.optimisation.parts import make_parts, part_of, set_modes, trained_parts
from udacore.errors import ConfigError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.classifier = nn.Conv2d(4, 2, 1)
        self.critic = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))


def config_of(segmenter: dict[str, Any] | None = None, **changes: Any) -> RoundConfig:
    return RoundConfig(parts={"segmenter": PartConfig(**(segmenter or {})), "critic": PartConfig(optimizer="Adam", lr=0.5)}, method=None, **changes)


def build(config: RoundConfig) -> tuple[Net, Any]:
    model = Net()
    return model, make_parts(model, config, trained_parts(model, config))


def test_a_child_with_an_entry_is_a_part_and_all_else_the_segmenter() -> None:
    model, parts = build(config_of())
    owners = {name: part_of(name, model, config_of()) for name, _ in model.named_parameters()}
    assert {name.partition(".")[0]: owner for name, owner in owners.items()} == {
        "backbone": "segmenter", "classifier": "segmenter", "critic": "critic",
    }  # fmt: skip
    assert {name: len(part.parameters) for name, part in parts.items()} == {"segmenter": 6, "critic": 4}
    assert isinstance(parts["critic"].optimizer, torch.optim.Adam)


def test_groups_have_their_own_rates_and_spared_parameters_no_decay() -> None:
    segmenter = {
        "lr": 0.1, "options": {"weight_decay": 0.01, "momentum": 0.9}, "groups": {"classifier": 10, r"\.1\.": {"lr_factor": 2, "momentum": 0.5}},
        "no_decay": ("bias",), "schedule": ScheduleConfig(name="step", at=(3,), factor=0.1),
    }  # fmt: skip
    model, parts = build(config_of(segmenter))
    parts["segmenter"].set_rate(3, 10, 0)
    found = {}
    for group in parts["segmenter"].optimizer.param_groups:
        for parameter in group["params"]:
            name = next(name for name, other in model.named_parameters() if other is parameter)
            found[name] = (round(group["lr"], 9), group["momentum"], group["weight_decay"])
    assert found == {
        "backbone.0.weight": (0.01, 0.9, 0.01), "backbone.0.bias": (0.01, 0.9, 0.0),
        "backbone.1.weight": (0.02, 0.5, 0.01), "backbone.1.bias": (0.02, 0.5, 0.0),
        "classifier.weight": (0.1, 0.9, 0.01), "classifier.bias": (0.1, 0.9, 0.0),
    }  # fmt: skip


class Layers(nn.Module):
    """Two stages of two and three blocks, between a stem and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.stages = nn.ModuleList(nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(count)) for count in (2, 3))
        self.head = nn.Conv2d(4, 2, 1)


def rates_of(parts: Any, model: nn.Module) -> dict[str, float]:
    """The rate of each weight, by name."""
    groups = parts["segmenter"].optimizer.param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name.removesuffix(".weight"): rates[id(p)] for name, p in model.named_parameters() if name.endswith("weight")}


def build_layers(groups: dict[str, Any], **more: Any) -> tuple[Layers, Any]:
    model, config = Layers(), RoundConfig(parts={"segmenter": PartConfig(lr=1.0, groups=groups, **more)}, method=None)
    return model, make_parts(model, config, ("segmenter",))


def test_rates_decay_with_the_depth_of_a_layer() -> None:
    model, parts = build_layers({r"stages\.{depth}\.": {"decay": 0.5, "lr_factor": 2}, "head": 10})
    parts["segmenter"].set_rate(0, 10, 0)
    assert rates_of(parts, model) == {
        "stem": 1.0, "stages.0.0": 1.0, "stages.0.1": 1.0, "stages.1.0": 2.0, "stages.1.1": 2.0, "stages.1.2": 2.0, "head": 10.0,
    }  # fmt: skip


def test_depth_may_have_two_numbers_of_which_the_first_counts_more() -> None:
    model, parts = build_layers({r"stages\.{depth}\.{depth}\.": {"decay": 0.5}}, no_decay=("bias",), options={"weight_decay": 0.1})
    parts["segmenter"].set_rate(0, 10, 0)
    assert rates_of(parts, model) == {
        "stem": 1.0, "stages.0.0": 1 / 16, "stages.0.1": 1 / 8, "stages.1.0": 1 / 4, "stages.1.1": 1 / 2, "stages.1.2": 1.0, "head": 1.0,
    }  # fmt: skip
    groups = parts["segmenter"].optimizer.param_groups
    named = [(group["name"], group["weight_decay"]) for group in groups if group["lr"] == 1 / 4]
    assert named == [(r"stages\.1\.0\.", 0.1), (r"stages\.1\.0\.", 0.0)]
    assert all("decay" not in group for group in groups)


def test_depths_are_counted_among_what_a_pattern_decides() -> None:
    model, parts = build_layers({r"stages\.1\.2\.": 3, r"stages\.1\.{depth}\.": {"decay": 0.5}})
    parts["segmenter"].set_rate(0, 10, 0)
    rates = rates_of(parts, model)
    assert [rates[f"stages.1.{block}"] for block in range(3)] == [0.5, 1.0, 3.0]


def test_an_untrained_part_asks_for_no_gradient_and_stays_in_evaluation_mode() -> None:
    config = config_of(trains=("critic",))
    model, parts = build(config)
    set_modes(model, config, parts)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {
        "critic.0.weight", "critic.0.bias", "critic.1.weight", "critic.1.bias",
    }  # fmt: skip
    assert {name: child.training for name, child in model.named_children()} == {"backbone": False, "classifier": False, "critic": True}
    config = config_of(trains=("segmenter",))
    set_modes(model, config, ("segmenter",))
    assert {name: child.training for name, child in model.named_children()} == {"backbone": True, "classifier": True, "critic": False}


@pytest.mark.parametrize(
    ("segmenter", "text"),
    [
        ({"optimizer": "AdmW"}, "parts.segmenter.optimizer: there is no 'AdmW'; did you mean 'AdamW'"),
        ({"optimizer": "nowhere:SGD"}, "parts.segmenter.optimizer: there is no 'nowhere:SGD'"),
        ({"optimizer": "torch.nn:Conv2d"}, "parts.segmenter.optimizer: 'torch.nn:Conv2d' is no optimiser"),
        ({"options": {"momentun": 0.9}}, "parts.segmenter: SGD does not take these options: "),
        ({"options": {"momentum": -1.0}}, "parts.segmenter: SGD does not take these options: Invalid momentum value"),
        ({"groups": {"blocks.{depth}": {"decay": 0.9}}}, "parts.segmenter.groups: no parameter matches 'blocks.{depth}'; the first is"),
        ({"groups": {"clasifier": 10}}, "parts.segmenter.groups: no parameter matches 'clasifier'; the first is 'backbone.0.weight'"),
    ],
)
def test_what_an_optimiser_cannot_be_made_of_is_one_line(segmenter: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(config_of(segmenter))
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_an_optimiser_may_come_from_a_module() -> None:
    _, parts = build(config_of({"optimizer": "torch.optim.adagrad:Adagrad"}))
    assert isinstance(parts["segmenter"].optimizer, torch.optim.Adagrad)


def test_a_trained_part_that_the_model_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no part 'critics'; did you mean 'critic'\?"):
        trained_parts(Net(), config_of(trains=("critics",)))
