"""What is particular to this method: the teacher, what is pasted, how much labels count, and
the loss on the mixture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from udacore import ConfigError
from udacore.interface import IGNORE, Output, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.models import Teacher

from udacore_daformer_lite import (
    Settings,
    augment,
    blur,
    class_masks,
    generators,
    jitter,
    pseudo_labels,
    quality,
    target_loss,
)

CLASSES = ("road", "sky", "car", "tree")


class Brightness(nn.Module):
    """A network whose logit of class k is `weight[k]` times the image's first channel, at half its size."""

    align_corners = False
    seen: Tensor

    def __init__(self, *weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, image: Tensor, domain: str = "source") -> Output:
        """N 3 H W to logits N K H/2 W/2."""
        small = image[:, :1, ::2, ::2]
        return Output(logits=small * self.weight.view(1, -1, 1, 1), features=small)


def with_teacher(*weight: float, teacher: tuple[float, ...] = ()) -> nn.Module:
    model = Brightness(*weight)
    model.teacher = Teacher(Brightness(*(teacher or weight)), 0.9)
    return model


def step(model: nn.Module, *, micro: int = 0, source: bool = True, size: int = 8, **settings: Any) -> Step:
    """White target images; source images twice as bright, their upper half of
    class 2, the lower half ignored."""
    label = torch.full((2, size, 8), 2)
    label[:, size // 2 :] = IGNORE
    valid = torch.ones(2, 8, 8, dtype=torch.bool)
    return Step(
        settings=Settings(**settings),
        round=RoundInfo(name="any", index=0, steps=9, trains=("segmenter",), classes=CLASSES),
        index=0,
        micro=micro,
        model=model,
        source=SourceBatch(image=torch.full((2, 3, size, 8), 2.0), label=label, name=("a", "b"), valid=label >= 0) if source else None,
        target=TargetBatch(image=torch.ones(2, 3, 8, 8), name=("c", "d"), valid=valid),
        generator=Generator().manual_seed(0),
        record=lambda name, value: None,
    )


def loss(given: Step) -> Tensor:
    losses: Any = target_loss(given)
    assert set(losses) == {"mixed"}
    mixed: Tensor = losses["mixed"]
    return mixed


# The teacher


@pytest.mark.parametrize(("updates", "micro", "teacher"), [(0, 0, 1.0), (1, 0, 0.5), (99, 0, 0.1), (0, 1, 0.0)])
def test_the_first_step_copies_the_network_and_micro_batches_count_once(updates: int, micro: int, teacher: float) -> None:
    model = with_teacher(1.0, 0.0, 0.0, 0.0, teacher=(0.0, 0.0, 0.0, 0.0))
    memory: Any = model.teacher
    memory.load_state_dict({**memory.state_dict(), "updates": torch.tensor(updates)})
    target_loss(step(model, micro=micro))
    assert memory.network.weight[0].item() == pytest.approx(teacher)


# Labels of the teacher


def test_quality_is_the_share_of_sure_valid_pixels() -> None:
    confidence = torch.tensor([[0.9, 0.5], [0.8, 0.99]])
    valid = torch.tensor([[True, True], [True, False]])
    assert quality(confidence, valid, 0.8).item() == pytest.approx(2 / 3)
    assert quality(confidence, torch.zeros_like(valid), 0.8).item() == 0


def test_pseudo_labels_leave_out_padding_and_rows() -> None:
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    valid[:, :, 0] = False
    settings = Settings(threshold=0.5, ignore_top=1, ignore_bottom=2)
    pseudo = pseudo_labels(Brightness(0.0, 9.0), torch.ones(1, 3, 8, 8), valid, settings)
    assert pseudo.label[0, 0].tolist() == [IGNORE] + [1] * 7
    assert pseudo.weight[0, :, 3].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    assert pseudo.sure.item() == 1


# Mixing


def test_half_of_the_classes_are_pasted_whole_and_never_the_ignored() -> None:
    label = torch.tensor([[[0, 0, 1], [2, 2, IGNORE]], [[3, 3, 3], [3, 3, 3]], [[IGNORE] * 3] * 2])
    drawn = set()
    for seed in range(20):
        masks = class_masks(label, 4, 0.5, [Generator().manual_seed(seed)] * 3)
        pasted = {c for c in range(4) if masks[0][label[0] == c].any()}
        assert masks[0].equal(torch.isin(label[0], torch.tensor(sorted(pasted))))
        assert len(pasted) == 2  # of three, rounded up
        assert masks[1].all()
        assert not masks[2].any()
        drawn.add(tuple(sorted(pasted)))
    assert drawn == {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize(("share", "pixels"), [(0.0, 0), (0.34, 2), (1.0, 4)])
def test_the_share_of_classes(share: float, pixels: int) -> None:
    label = torch.tensor([[[0, 1], [2, 3]]])
    assert class_masks(label, 4, share, [Generator()]).sum().item() == pixels


def test_random_numbers_belong_to_the_image_not_to_its_place() -> None:
    one, two = (generators(Generator().manual_seed(7), names) for names in (("a", "b"), ("b", "a")))
    numbers = [[torch.rand((), generator=g).item() for g in group] for group in (one, two)]
    assert numbers[0] == numbers[1][::-1]
    assert numbers[0][0] != numbers[0][1]
    other = generators(Generator().manual_seed(8), ("a",))
    assert torch.rand((), generator=other[0]).item() != numbers[0][0]


def test_the_loss_is_that_of_the_mixture_written_out() -> None:
    """The one class of the source is pasted: half of the pixels have its image and label with weight 1,
    half the teacher's label."""
    model = with_teacher(0.5, 0.0, -0.5, 0.0)
    given = step(model, threshold=0.3, weight=2.0)
    small = torch.ones(2, 1, 4, 4)
    small[:, :, :2] = 2
    logits = nn.functional.interpolate(small * torch.tensor([0.5, 0.0, -0.5, 0.0]).view(1, 4, 1, 1), (8, 8), mode="bilinear")
    label = torch.zeros(2, 8, 8, dtype=torch.int64)
    label[:, :4] = 2
    assert loss(given).item() == pytest.approx(2 * nn.functional.cross_entropy(logits, label).item(), rel=1e-5)


def test_an_unsure_teacher_leaves_the_pasted_pixels_only() -> None:
    model = with_teacher(0.1, 0.0, 0.0, 0.0)
    assert loss(step(model, source=False, threshold=1.0)).item() == 0
    mixed = loss(step(model, threshold=1.0))
    assert mixed.item() > 0
    torch.autograd.backward(mixed)
    weight: Any = model.weight
    assert weight.grad[2] < 0  # towards the pasted class


def test_sizes_that_do_not_fit_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"2 of 8 x 6 and 2 of 8 x 8; end both transforms"):
        target_loss(step(with_teacher(1.0, 0.0, 0.0, 0.0), size=6))


# Augmentation


def test_augmentation_is_off_by_default_and_the_same_for_the_same_numbers() -> None:
    image = torch.rand(2, 3, 8, 8)
    assert augment(image, Settings(), [Generator()] * 2) is image
    strong = Settings(jitter=0.5, jitter_probability=1, blur_probability=1)
    one, two = (augment(image, strong, generators(Generator().manual_seed(3), ("a", "b"))) for _ in range(2))
    assert torch.equal(one, two)
    assert (one != image).any(dim=(1, 2, 3)).all()


def test_jitter_of_nothing_is_nothing_and_its_ends_are_grey() -> None:
    image = torch.rand(3, 4, 4)
    torch.testing.assert_close(jitter(image, 0, 0, 0), image)
    torch.testing.assert_close(jitter(image, 0, -1, 0), image.mean().expand_as(image))
    assert jitter(image, 0, 0, -1).std(0).max() < 1e-6
    torch.testing.assert_close(jitter(image, 0.5, 0, 0), image + 0.5)


def test_blur_keeps_size_and_mean_and_spreads_a_point() -> None:
    image = torch.zeros(3, 17, 17)
    image[:, 8, 8] = 1
    out = blur(image, 1.0)
    assert out.shape == image.shape
    torch.testing.assert_close(out.sum(dim=(1, 2)), torch.ones(3))
    assert out[0, 8, 9].item() == pytest.approx(out[0, 9, 8].item())
    assert 0.1 < out[0, 8, 8].item() < 0.2
    torch.testing.assert_close(blur(torch.ones(3, 6, 6), 0.5), torch.ones(3, 6, 6))
