"""The core's own plugin: cross-entropy on labels, on pseudo labels where there are some,
thresholded pseudo labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore import source_only
from udacore.config.schema import ModelConfig, PseudoLabelConfig
from udacore.interface import Output, PassBatch, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.methods.discovery import load_plugin
from udacore.models import DomainBatchNorm2d
from udacore.plugins import build_hooks

CLASSES = ("road", "sky", "car", "bus", "person")
ROUND = RoundInfo(name="adapt", index=0, steps=4, trains=("segmenter",), classes=CLASSES)


class Tiny(nn.Module):
    """The least that a segmenter is."""

    def __init__(self, align_corners: bool = False) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, len(CLASSES), 3, stride=4, padding=1)
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> Output:
        return Output(logits=self.head(image), features=image)


def step_of(model: nn.Module, *, label: Tensor | None = None, pseudo_label: Tensor | None = None) -> Step:
    torch.manual_seed(0)
    image, valid, name = torch.randn(2, 3, 33, 49), torch.ones(2, 33, 49, dtype=torch.bool), ("a", "b")
    source = None if label is None else SourceBatch(image=image, label=label, name=name, valid=valid)
    target = TargetBatch(image=image, name=name, valid=valid, pseudo_label=pseudo_label)
    rest: dict[str, Any] = {"settings": None, "round": ROUND, "index": 0, "micro": 0, "record": lambda name, value: None}
    return Step(model=model, source=source, target=target, generator=torch.Generator(), **rest)


@pytest.fixture
def label() -> Tensor:
    """2 33 49 with ignored pixels and an absent class."""
    label = torch.randint(0, 4, (2, 33, 49), generator=torch.Generator().manual_seed(1))
    label[:, :5] = 255
    return label


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_source_loss_is_cross_entropy_at_the_size_of_the_label(label: Tensor, align_corners: bool) -> None:
    step = step_of(Tiny(align_corners), label=label)
    losses = build_hooks(load_plugin("source-only")).source_loss(step=step)
    assert step.source is not None
    logits = F.interpolate(step.model(step.source.image).logits, (33, 49), mode="bilinear", align_corners=align_corners)
    assert list(losses) == ["source"]
    torch.testing.assert_close(losses["source"], F.cross_entropy(logits, label, ignore_index=255))
    losses["source"].backward()
    assert step.model.head.weight.grad.abs().sum() > 0


def test_a_label_without_a_valid_pixel_gives_a_zero_with_a_graph(label: Tensor) -> None:
    step = step_of(Tiny(), label=torch.full_like(label, 255))
    loss = source_only.source_loss(step)["source"]
    assert loss.item() == 0
    loss.backward()
    assert step.model.head.weight.grad.abs().sum() == 0


def test_without_pseudo_labels_the_target_gives_no_loss_and_no_forward(label: Tensor) -> None:
    class Untouched(nn.Module):
        def forward(self, image: Tensor) -> Output:
            raise AssertionError("the target was run")

    assert build_hooks(load_plugin("source-only")).target_loss(step=step_of(Untouched())) == {}


def test_with_pseudo_labels_the_target_loss_is_that_of_the_source(label: Tensor) -> None:
    step = step_of(Tiny(True), label=label, pseudo_label=label)
    losses = source_only.target_loss(step)
    assert list(losses) == ["pseudo_label"]
    assert torch.equal(losses["pseudo_label"], source_only.source_loss(step)["source"])


def test_pseudo_labels_train_the_targets_layers_of_domain_specific_batch_norm(label: Tensor) -> None:
    model = Tiny()
    norm = DomainBatchNorm2d(len(CLASSES))
    model.head = nn.Sequential(model.head, norm)
    step = step_of(model, label=label, pseudo_label=label)
    source_only.target_loss(step)["pseudo_label"].backward()
    assert [layer.weight.grad is not None for layer in norm.norm_layers] == [False, True]
    source_only.source_loss(step)["source"].backward()
    assert [int(layer.num_batches_tracked) for layer in norm.norm_layers] == [1, 1]


def test_the_model_is_the_one_of_the_configuration_with_an_output_a_class() -> None:
    hooks = build_hooks(load_plugin("source-only"))
    model = hooks.build_model(settings=None, architecture=ModelConfig(name="small"), round=ROUND)
    assert model(torch.randn(2, 3, 32, 48)).logits.shape[:2] == (2, len(CLASSES))


@attrs.define(kw_only=True)
class Ending:
    """A round's end over two images, without an engine."""

    model: nn.Module
    pseudo_labels: PseudoLabelConfig
    round: RoundInfo = ROUND
    settings: Any = None
    folder: Path = Path()
    device: torch.device = attrs.field(factory=lambda: torch.device("cpu"))
    recorded: dict[str, Any] = attrs.field(factory=dict)

    def target(self, *, size: tuple[int, int] | None = None, batch: int = 1) -> Iterator[PassBatch]:
        width, height = size or (48, 32)
        for index in range(2):
            image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(index))
            yield PassBatch(image=image, label=None, name=(f"city/{index}",), size=((64, 96),))

    def record(self, name: str, value: Any) -> None:
        self.recorded[name] = value


def test_pseudo_labels_follow_the_settings_of_the_core() -> None:
    torch.manual_seed(0)
    end = Ending(model=Tiny().eval(), pseudo_labels=PseudoLabelConfig(percent=0.5, cap=0.99))
    hooks = build_hooks(load_plugin("source-only"))
    assert hooks.on_round_end(round=end) is None
    with torch.no_grad():
        half = dict(hooks.make_pseudo_labels(round=end))
        end.pseudo_labels = PseudoLabelConfig(percent=0.0, cap=0.0)
        whole = dict(hooks.make_pseudo_labels(round=end))
    assert [(name, label.shape, label.dtype) for name, label in half.items()] == [
        ("city/0", (64, 96), np.uint8),
        ("city/1", (64, 96), np.uint8),
    ]
    kept = np.stack(list(half.values())) != 255
    assert 0.3 < kept.mean() < 0.7
    assert (np.stack(list(whole.values())) != 255).all()
    assert (np.stack(list(half.values()))[kept] == np.stack(list(whole.values()))[kept]).all()
