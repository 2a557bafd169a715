"""Prediction at any size: against the definition written out, for scales, mirror images and windows."""

from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udacore.errors import ConfigError
from udacore.inference import predict_label, predict_probability, slide
from udacore.interface import Output


class Tiny(nn.Module):
    """A convolution of stride 4 to five classes, and a second head."""

    def __init__(self, align_corners: bool = True) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.batches: list[int] = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.other = nn.Conv2d(3, 5, 3, 4, 1), nn.Conv2d(3, 5, 3, 4, 1)

    def forward(self, image: Tensor) -> Output:
        self.batches.append(len(image))
        return Output(logits=self.conv(image), features=image, heads={"auxiliary": self.other(image)})


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 33, 49, generator=torch.Generator().manual_seed(1))


def resize(x: Tensor, size: tuple[int, int], align_corners: bool = True) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


@pytest.mark.parametrize("align_corners", [True, False])
def test_softmax_follows_or_precedes_the_enlargement(image: Tensor, align_corners: bool) -> None:
    model = Tiny(align_corners)
    logits = model.conv(image).detach()
    torch.testing.assert_close(predict_probability(model, image, (66, 97)), resize(logits, (66, 97), align_corners).softmax(1))
    got = predict_probability(model, image, (66, 97), upsample="probability")
    torch.testing.assert_close(got, resize(logits.softmax(1), (66, 97), align_corners))
    got = predict_probability(model, image, (66, 97), align_corners=not align_corners)
    torch.testing.assert_close(got, resize(logits, (66, 97), not align_corners).softmax(1))


def test_scales_and_mirror_images_are_averaged(image: Tensor) -> None:
    model, size = Tiny(), (40, 50)
    want = torch.zeros(2, 5, *size)
    for scale, at in ((0.7, (23, 34)), (1.0, (33, 49)), (1.5, (49, 73))):
        view = resize(image, at)
        assert at == (int(33 * scale), int(49 * scale))
        want += resize(model.conv(view), size).softmax(1).detach()
        want += resize(model.conv(view.flip(-1)), size).softmax(1).flip(-1).detach()
    torch.testing.assert_close(predict_probability(model, image, size, scales=(0.7, 1.0, 1.5), flip=True), want / 6)
    assert model.batches == [4, 4, 4]


def test_probabilities_sum_to_one_and_need_no_gradient(image: Tensor) -> None:
    for how in ({}, {"flip": True}, {"scales": (0.5, 1.25)}, {"window": (16, 20)}, {"upsample": "probability"}):
        probability = predict_probability(Tiny(), image, (35, 51), **how)
        torch.testing.assert_close(probability.sum(1), torch.ones(2, 35, 51))
        assert not probability.requires_grad


def test_windows_are_averaged_where_they_overlap(image: Tensor) -> None:
    model = Tiny()
    total, times = torch.zeros(2, 5, 33, 49), torch.zeros(33, 49)
    for top in (0, 10, 17):
        for left in (0, 20, 29):
            part = model.conv(image[..., top : top + 16, left : left + 20]).detach()
            total[..., top : top + 16, left : left + 20] += resize(part, (16, 20))
            times[top : top + 16, left : left + 20] += 1
    want = resize(total / times, (66, 98)).softmax(1)
    torch.testing.assert_close(predict_probability(model, image, (66, 98), window=(16, 20), stride=(10, 20)), want)
    assert times.min() == 1


def test_windows_may_go_through_the_model_together(image: Tensor) -> None:
    choices = {"window": (16, 20), "stride": (10, 20)}
    alone, size = Tiny(), (66, 98)
    want = predict_probability(alone, image, size, **choices)
    assert alone.batches == [2] * 9
    for batch, batches in ((4, [8, 8, 2]), (9, [18]), (100, [18])):
        model = Tiny()
        torch.testing.assert_close(predict_probability(model, image, size, window_batch=batch, **choices), want)
        assert model.batches == batches
        assert (predict_label(model, image, size, window_batch=batch, **choices) == want.argmax(1)).float().mean() > 0.999


def test_the_sum_of_windows_is_the_same_to_the_last_bit_however_many_go_together(image: Tensor) -> None:
    def run(views: Tensor) -> Tensor:
        return views[:, :, ::2, ::2] * 3

    alone = slide(run, image, (16, 20), (5, 7), align_corners=False)
    for batch in (2, 3, 64):
        assert torch.equal(slide(run, image, (16, 20), (5, 7), align_corners=False, batch=batch), alone)


def test_no_more_maps_are_held_than_those_of_one_batch(image: Tensor) -> None:
    held: list[int] = []
    alive: list[weakref.ref[Tensor]] = []

    def run(views: Tensor) -> Tensor:
        maps = views[:, :1].clone()
        alive.append(weakref.ref(maps))
        held.append(sum(each() is not None for each in alive))
        return maps

    slide(run, image, (8, 8), (4, 4), align_corners=False, batch=3)
    assert len(held) > 20
    assert max(held) <= 2  # the last batch's are let go of once the next one is there


def test_windows_of_logits_are_averaged_then_enlarged_as_published() -> None:
    logits = torch.randn(12, 7, 24, 24, generator=torch.Generator().manual_seed(0))
    total, times = torch.zeros(1, 7, 40, 50, dtype=torch.float64), torch.zeros(40, 50)
    places = [(min(row * 12, 16), min(column * 12, 26)) for row in range(3) for column in range(4)]
    for (top, left), part in zip(places, logits, strict=True):
        total[..., top : top + 24, left : left + 24] += part
        times[top : top + 24, left : left + 24] += 1
    given = iter(logits.split(5))
    found = slide(lambda views: next(given), torch.zeros(1, 3, 40, 50), (24, 24), (12, 12), align_corners=False, batch=5)
    torch.testing.assert_close(found, (total / times).float())


def test_a_window_of_the_images_size_gives_two_enlargements(image: Tensor) -> None:
    model = Tiny(align_corners=False)
    want = resize(resize(model.conv(image).detach(), (33, 49), False), (66, 98), False).softmax(1)
    torch.testing.assert_close(predict_probability(model, image, (66, 98), window=(33, 49)), want)
    assert not torch.allclose(predict_probability(model, image, (66, 98)), want)


def test_a_stride_that_leaves_gaps_is_refused(image: Tensor) -> None:
    with pytest.raises(ConfigError, match="stride: 20 x 17 leaves gaps between windows of 20 x 16"):
        predict_label(Tiny(), image, (33, 49), window=(16, 20), stride=(17, 20))
    assert predict_probability(Tiny(), image, (33, 49), window=(33, 20), stride=(40, 20)).isfinite().all()


def test_a_window_larger_than_the_image_is_the_whole_image(image: Tensor) -> None:
    torch.testing.assert_close(
        predict_probability(Tiny(), image, (33, 49), window=(64, 64)), predict_probability(Tiny(), image, (33, 49))
    )


def test_windows_cover_every_pixel_at_any_stride(image: Tensor) -> None:
    for window, stride in (((7, 9), None), ((16, 16), (16, 16)), ((33, 10), (1, 10)), ((5, 49), (5, 3))):
        assert predict_probability(Tiny(), image, (33, 49), window=window, stride=stride).isfinite().all()


@pytest.mark.parametrize(
    "how", [{}, {"flip": True}, {"scales": (0.5, 1.0)}, {"upsample": "probability"}, {"window": (16, 20)}, {"head": "auxiliary"}]
)
def test_labels_are_the_argmax_of_the_probability(image: Tensor, how: dict) -> None:
    model = Tiny()
    label = predict_label(model, image, (35, 51), **how)
    assert label.dtype == torch.int64
    probability = predict_probability(model, image, (35, 51), **how)
    chosen = probability.gather(1, label[:, None])[:, 0]
    torch.testing.assert_close(chosen, probability.amax(1), rtol=0, atol=1e-6)
    assert (label == probability.argmax(1)).float().mean() > 0.999


def test_the_lowest_class_wins_among_equals(image: Tensor) -> None:
    model = Tiny()
    nn.init.zeros_(model.conv.weight)
    with torch.no_grad():
        model.conv.bias.copy_(torch.tensor([0.0, 1, 0, 1, 1]))
    assert (predict_label(model, image, (9, 9)) == 1).all()
    assert (predict_label(model, image, (9, 9), flip=True) == 1).all()


def test_a_head_is_chosen_by_name(image: Tensor) -> None:
    model = Tiny()
    got = predict_probability(model, image, (33, 49), head="auxiliary")
    torch.testing.assert_close(got, resize(model.other(image), (33, 49)).softmax(1).detach())
    assert torch.equal(predict_label(model, image, (33, 49), head="logits"), predict_label(model, image, (33, 49)))
    with pytest.raises(ConfigError, match="no output 'auxilary'; did you mean 'auxiliary'"):
        predict_probability(model, image, (33, 49), head="auxilary")


def test_half_precision_logits_are_widened_before_the_enlargement(image: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        probability = predict_probability(Tiny(), image, (66, 98))
    assert probability.dtype == torch.float32
    torch.testing.assert_close(probability, predict_probability(Tiny(), image, (66, 98)), rtol=0.05, atol=0.02)


class OnDemand(Tiny):
    """A head that is run only where it is asked for."""

    head_names = ("sharper",)

    def forward(self, image: Tensor, head: str | None = None) -> Output:
        output = super().forward(image)
        heads = dict(output.heads) if head is None else {**output.heads, head: 2 * output.logits}
        return Output(logits=output.logits, features=image, heads=heads)


def test_a_head_is_asked_for_where_the_model_runs_it_on_demand(image: Tensor) -> None:
    model = OnDemand()
    got = predict_probability(model, image, (33, 49), head="sharper")
    torch.testing.assert_close(got, resize(2 * model.conv(image).detach(), (33, 49)).softmax(1))
    got = predict_probability(model, image, (33, 49), head="auxiliary")
    torch.testing.assert_close(got, resize(model.other(image).detach(), (33, 49)).softmax(1))
    with pytest.raises(ConfigError, match="no output 'sharp'; did you mean 'sharper'"):
        predict_label(model, image, (33, 49), head="sharp")
