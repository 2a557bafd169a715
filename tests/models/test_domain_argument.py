"""Any network may be called with `domain=`: one whose forward does not take it never sees it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from udacore.models import DomainBatchNorm2d
from udacore.models.domain_argument import accept_domain

IMAGE = torch.ones(1, 3, 2, 2)


class Plain(nn.Module):
    """A forward without `domain`, with layers of both domains that add 0 for the
    source and 1 for the target."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = DomainBatchNorm2d(3).eval()
        self.norm.norm_layers[1].bias.data.fill_(1.0)
        self.norm.norm_layers[0].weight.data.zero_()
        self.norm.norm_layers[1].weight.data.zero_()

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(image)


class Taking(nn.Module):
    def forward(self, image: Tensor, domain: str | None = None) -> str | None:
        return domain


class TakingAll(nn.Module):
    def forward(self, image: Tensor, **named: str) -> dict[str, str]:
        return named


def test_a_forward_that_takes_it_gets_it() -> None:
    for model, wanted in ((Taking(), "target"), (TakingAll(), {"domain": "target"})):
        accept_domain(model)
        assert model(IMAGE, domain="target") == wanted


def test_a_forward_that_does_not_take_it_is_called_without_and_its_layers_are_those_of_the_domain() -> None:
    model = Plain()
    with pytest.raises(TypeError, match="domain"):
        model(IMAGE, domain="target")
    accept_domain(model)
    seen = [float(model(IMAGE, **named).detach().mean()) for named in ({"domain": "target"}, {"domain": "source"}, {"domain": None}, {})]
    assert seen == [1, 0, 0, 0]
    assert model.norm.current == "source"


def test_other_arguments_are_refused_as_before_and_an_unknown_domain_too() -> None:
    model = Plain()
    accept_domain(model)
    with pytest.raises(TypeError, match="head"):
        model(IMAGE, domain="target", head="aux")
    assert model.norm.current == "source"
    with pytest.raises(ValueError, match="tarket"):
        model(IMAGE, domain="tarket")
    assert float(model(IMAGE, domain="target").detach().mean()) == 1


def test_a_teacher_that_was_copied_from_the_network_is_treated_alike_and_so_is_a_later_copy() -> None:
    model = Plain()
    model.teacher = copy.deepcopy(model)
    accept_domain(model)
    later = copy.deepcopy(model)
    for each in (model.teacher, later):
        assert float(each(IMAGE, domain="target").detach().mean()) == 1
        assert each.norm.current == "source"
    assert later.state_dict().keys() == model.state_dict().keys()


def test_a_second_visit_adds_nothing() -> None:
    model = Plain()
    for _ in range(2):
        accept_domain(model)
    assert len(model._forward_pre_hooks) == 1
