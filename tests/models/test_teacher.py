"""A teacher follows the network by the rule, keeps its weights in buffers, and shares
what it is told to share."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from udacore.config.schema import ModelConfig
from udacore.models import Teacher, build_segmenter
from udacore.models.domain_argument import accept_domain


class Net(nn.Module):
    align_corners, num_classes = False, 3

    def __init__(self, fill: float = 1.0) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Conv2d(4, 3, 1)
        for parameter in self.parameters():
            nn.init.constant_(parameter, fill)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.head(self.backbone(image))
        return result


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def move(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_all_its_weights_are_buffers_and_it_gives_what_the_network_gives() -> None:
    model = build_segmenter(ModelConfig(name="small"), 5)
    model.teacher = Teacher(model)
    accept_domain(model)
    assert not list(model.teacher.parameters())
    assert {f"network.{name}" for name in model.state_dict() if not name.startswith("teacher.")} | {"updates"} == set(model.teacher.state_dict())
    image = torch.rand(1, 3, 16, 16)
    given = model.eval().teacher(image, domain="target")
    assert torch.equal(given.logits, model(image).logits)
    assert not given.logits.requires_grad
    assert (model.teacher.num_classes, model.teacher.align_corners, model.teacher.head_names) == (5, model.align_corners, model.head_names)


def test_updates_are_those_of_the_warm_up_rule_to_the_last_bit() -> None:
    """As the loop over tensors: copy, then lerp by 1 - min(1 - 1 / (t + 1), alpha)."""
    torch.manual_seed(0)
    model, alpha = build_segmenter(ModelConfig(name="small"), 5), 0.6
    teacher = Teacher(model, alpha)
    expected = {name: value.detach().clone() for name, value in model.named_parameters()}
    for step in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        teacher.update(model)
        kept = min(1 - 1 / (step + 1), alpha)
        for name, value in model.named_parameters():
            expected[name] = value.detach().clone() if kept == 0 else expected[name].lerp(value.detach(), 1 - kept)
        mine = dict(teacher.network.named_buffers())
        assert all(torch.equal(mine[name], value) for name, value in expected.items())
    assert int(teacher.updates) == teacher.count == 5


def test_an_update_is_in_place_and_leaves_the_network_alone() -> None:
    model = Net()
    teacher = Teacher(model, 0.5)
    places = [value.data_ptr() for value in teacher.buffers()]
    before = weights(model)
    for _ in range(3):
        teacher.update(model)
    assert [value.data_ptr() for value in teacher.buffers()] == places
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not set(places) & {value.data_ptr() for value in (*model.parameters(), *model.buffers())}


@pytest.mark.parametrize(("statistics", "later"), [("own", 0.0), ("copied", 3.0)])
def test_statistics_are_copied_once_or_each_time(statistics: Any, later: float) -> None:
    model = Net()
    teacher = Teacher(model, statistics=statistics)
    teacher.update(model)
    model.backbone[1].running_mean.fill_(3.0)  # type: ignore[operator, union-attr]
    teacher.update(model)
    assert float(dict(teacher.network.named_buffers())["backbone.1.running_mean"][0]) == later


def test_it_is_filled_from_the_weights_that_were_loaded_after_it_was_built_and_a_loaded_one_goes_on() -> None:
    model, loaded = Net(1.0), Net(5.0)
    model.teacher = Teacher(model, 0.9)
    model.load_state_dict({**model.state_dict(), **loaded.state_dict()})
    model.teacher.update(model)
    assert float(model.teacher.network.head.weight[0, 0, 0, 0]) == 5.0
    move(model, 1.0)
    model.teacher.update(model)  # t = 1: halfway
    later = Net(0.0)
    later.teacher = Teacher(later, 0.9)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    later.load_state_dict(torch.load(file, weights_only=True))
    assert later.teacher.count == 2
    for each in (model, later):
        each.teacher.update(each)
    assert float(later.teacher.network.head.weight[0, 0, 0, 0]) == float(model.teacher.network.head.weight[0, 0, 0, 0]) != 6.0


def test_a_deep_copy_is_equal_and_independent() -> None:
    model = Net()
    model.teacher = Teacher(model)
    model.teacher.update(model)
    twin = copy.deepcopy(model)
    move(twin, 1.0)
    twin.teacher.update(twin)
    assert (model.teacher.count, twin.teacher.count) == (1, 2)
    assert float(model.teacher.network.head.weight[0, 0, 0, 0]) == 1.0
    assert float(twin.teacher.network.head.weight[0, 0, 0, 0]) == 1.5


def test_a_shared_child_is_one_for_both_and_no_memory_of_the_teacher() -> None:
    model = Net()
    model.teacher = Teacher(model, shared=("backbone",))
    assert set(model.teacher.state_dict()) == {"network.head.weight", "network.head.bias", "updates"}
    assert model.teacher.network.backbone is model.backbone
    model.teacher.update(model)
    twin = copy.deepcopy(model)
    assert twin.teacher.network.backbone is twin.backbone
    move(model.backbone, 1.0)
    image = torch.rand(2, 3, 4, 4)
    assert torch.equal(model.eval().teacher(image), model(image))


def test_it_is_in_the_mode_of_the_model_but_for_dropout() -> None:
    model = Net()
    model.teacher = Teacher(model)
    modes = {name: module.training for name, module in model.train().teacher.network.named_modules()}
    assert modes == {"": True, "backbone": True, "backbone.0": True, "backbone.1": True, "backbone.2": False, "head": True}
    assert model.backbone[2].training  # type: ignore[index, union-attr]
    assert not model.eval().teacher.network.training


def test_weights_that_two_layers_share_move_once() -> None:
    model = Net()
    model.second = nn.Conv2d(4, 3, 1)
    model.second.weight = model.head.weight
    teacher: Any = Teacher(model, 0.5)
    teacher.update(model)
    move(model, 1.0)
    teacher.update(model)
    assert teacher.network.second.weight is teacher.network.head.weight
    assert float(teacher.network.head.weight.detach()[0, 0, 0, 0]) == 1.5


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match=r"alpha is a number from 0 to 1, got 1\.5"):
        Teacher(Net(), 1.5)
    with pytest.raises(ValueError, match="the model has no child 'bakbone'; did you mean 'backbone'"):
        Teacher(Net(), shared=("bakbone",))
    with pytest.raises(ValueError, match="statistics='mine'"):
        Teacher(Net(), statistics="mine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the model has no 'backbone\."):
        Teacher(Net()).update(nn.Conv2d(3, 3, 1))
