"""The shared losses against plain loops, numerical derivatives, and their
behaviour where nothing is valid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from udacore import losses


def random_case(seed: int = 0, size: tuple[int, int] = (33, 49), dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Logits 2 x 5 x H x W and a label with ignored pixels in which class 3 is absent."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 5, *size, generator=generator, dtype=dtype)
    label = torch.randint(0, 5, (2, *size), generator=generator)
    label[label == 3] = 1
    label[torch.rand(label.shape, generator=generator) < 0.2] = 255
    return logits.requires_grad_(), label


def plain_lovasz(probability: Tensor, label: Tensor) -> Tensor:
    """The formula of algorithms/proca 5.2 word by word, pixel by pixel, differentiated by autograd."""
    rows = probability.permute(0, 2, 3, 1).reshape(-1, probability.shape[1])
    terms = []
    for c in range(probability.shape[1]):
        pairs = [(row[c], int(y == c)) for row, y in zip(rows, label.reshape(-1).tolist(), strict=True) if y != 255]
        total = sum(is_class for _, is_class in pairs)
        if total == 0:
            continue
        ranked = sorted(((1 - p if is_class else p, is_class) for p, is_class in pairs), key=lambda pair: -pair[0].item())
        intersection, union, before, loss = total, total, 0.0, rows.new_zeros(())
        for error, is_class in ranked:
            intersection, union = intersection - is_class, union + 1 - is_class
            jaccard = 1 - intersection / union
            loss, before = loss + error * (jaccard - before), jaccard
        terms.append(loss)
    return torch.stack(terms).mean()


def gradient_of(loss: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(loss, leaf)[0]


def test_cross_entropy_is_the_mean_over_valid_pixels() -> None:
    logits, label = random_case()
    each = [
        -logits[n, :, i, j].log_softmax(0)[label[n, i, j]]
        for n, i, j in (label != 255).nonzero().tolist()
    ]
    want = torch.stack(each).mean()
    got = losses.cross_entropy(logits, label)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient_of(got, logits), gradient_of(want, logits))


def test_cross_entropy_ignores_negative_labels_and_weighs_pixels() -> None:
    logits, label = random_case(1)
    weight = torch.rand(label.shape, dtype=torch.float64)
    want = (F.cross_entropy(logits, label, ignore_index=255, reduction="none") * weight).sum() / (label != 255).sum()
    torch.testing.assert_close(losses.cross_entropy(logits, label.where(label != 255, -1), weight=weight), want)


@pytest.mark.parametrize(
    "loss",
    [losses.cross_entropy, lambda z, y: losses.lovasz_softmax(z.softmax(1), y), lambda z, y: losses.entropy(z, y != 255)],
)
def test_no_valid_pixel_gives_zero_with_a_graph(loss) -> None:
    logits, label = random_case()
    value = loss(logits, torch.full_like(label, 255))
    assert value.item() == 0
    assert gradient_of(value, logits).abs().max() == 0


def test_one_valid_pixel() -> None:
    logits, label = random_case(2)
    label = torch.full_like(label, 255)
    label[1, 30, 48] = 4
    probability = logits.softmax(1)
    torch.testing.assert_close(losses.cross_entropy(logits, label), -probability[1, 4, 30, 48].log())
    torch.testing.assert_close(losses.lovasz_softmax(probability, label), 1 - probability[1, 4, 30, 48])


def test_segmentation_loss_enlarges_by_the_given_corner_rule() -> None:
    _, label = random_case()
    small = torch.randn(2, 5, 5, 7, dtype=torch.float64)
    values = [losses.segmentation_loss(small, label, align_corners) for align_corners in (True, False)]
    for value, align_corners in zip(values, (True, False), strict=True):
        large = F.interpolate(small, (33, 49), mode="bilinear", align_corners=align_corners)
        torch.testing.assert_close(value, losses.cross_entropy(large, label))
    assert values[0] != values[1]


def test_upsample_widens_half_precision() -> None:
    x = torch.randn(1, 2, 3, 4, dtype=torch.bfloat16)
    assert losses.upsample(x, (6, 8), True).dtype == losses.upsample(x, (3, 4), True).dtype == torch.float32


def test_lovasz_equals_the_plain_form_with_its_gradient() -> None:
    logits, label = random_case(3, (9, 13))
    probability = logits.softmax(1).detach().requires_grad_()
    got, want = losses.lovasz_softmax(probability, label), plain_lovasz(probability, label)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient_of(got, probability), gradient_of(want, probability))


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_lovasz_is_the_same_however_many_classes_are_sorted_together(monkeypatch, at_once: int) -> None:
    logits, label = random_case(4)
    probability = logits.softmax(1)
    alone = losses.lovasz_softmax(probability, label)
    monkeypatch.setattr(losses, "_classes_at_once", lambda scores: at_once)
    together = losses.lovasz_softmax(probability, label)
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(gradient_of(together, logits), gradient_of(losses.lovasz_softmax(logits.softmax(1), label), logits))


def test_lovasz_in_single_precision_equals_double_with_its_gradient() -> None:
    logits, label = random_case(13)
    probability = logits.softmax(1).detach()
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf = probability.float().to(dtype).requires_grad_()  # the same numbers, so the same order
        loss = losses.lovasz_softmax(leaf, label)
        results.append((loss.double(), gradient_of(loss, leaf).double()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=0)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-5, atol=1e-9)


def test_lovasz_does_not_see_ignored_pixels() -> None:
    logits, label = random_case(5)
    probability = logits.softmax(1)
    other = torch.where(label[:, None] == 255, torch.rand(probability.shape, dtype=torch.float64), probability)
    assert losses.lovasz_softmax(other, label) == losses.lovasz_softmax(probability, label)
    gradient = gradient_of(losses.lovasz_softmax(probability, label), probability).permute(0, 2, 3, 1)
    assert gradient[label == 255].abs().max() == 0
    assert gradient[label != 255].abs().max() > 0


def test_lovasz_of_a_perfect_prediction_is_zero_and_of_a_wrong_one_is_one() -> None:
    label = torch.tensor([[[0, 0, 1], [1, 255, 0]]])
    right = F.one_hot(label.where(label != 255, 0), 2).permute(0, 3, 1, 2).float()
    assert losses.lovasz_softmax(right, label) == 0
    assert losses.lovasz_softmax(1 - right, label) == pytest.approx(1, abs=1e-6)


def test_lovasz_keeps_one_tensor_for_the_backward_pass() -> None:
    logits, label = random_case(6)
    probability = logits.detach().softmax(1).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        losses.lovasz_softmax(probability, label)
    assert [x.shape for x in kept] == [probability.shape]


def test_soft_cross_entropy_equals_the_full_product() -> None:
    logits, _ = random_case(7)
    soft = torch.rand(logits.shape, dtype=torch.float64)
    weight = torch.rand(2, 33, 49, dtype=torch.float64)
    each = -(soft * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(losses.soft_cross_entropy(logits, soft), each.mean())
    got, want = losses.soft_cross_entropy(logits, soft, weight), (each * weight).mean()
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient_of(got, logits), gradient_of(want, logits))


def test_soft_cross_entropy_on_a_part_of_the_channels_equals_padding_with_zeros() -> None:
    logits, _ = random_case(8)
    soft = torch.rand(2, 2, 33, 49)
    for first in (0, 3):
        padded = torch.zeros(logits.shape, dtype=torch.float64)
        padded[:, first : first + 2] = soft
        torch.testing.assert_close(losses.soft_cross_entropy(logits, soft, first=first), losses.soft_cross_entropy(logits, padded))


def test_soft_cross_entropy_has_gradients_of_logits_soft_labels_and_weights() -> None:
    logits, _ = random_case(8, (3, 4))
    soft = torch.rand(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    for first in (0, 3):
        assert torch.autograd.gradcheck(lambda z, s, w, first=first: losses.soft_cross_entropy(z, s, w, first), (logits, soft, weight))


def test_entropy_lies_between_certainty_and_indifference() -> None:
    logits, label = random_case(9)
    probability = logits.softmax(1)
    each = -(probability * probability.log()).sum(1)
    torch.testing.assert_close(losses.entropy(logits), each.mean())
    torch.testing.assert_close(losses.entropy(logits, label != 255), each[label != 255].mean())
    assert losses.entropy(torch.zeros(1, 5, 2, 2)).item() == pytest.approx(torch.tensor(5.0).log().item())
    assert losses.entropy(torch.tensor([0.0, 2000.0]).view(1, 2, 1, 1)) == 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: losses.segmentation_loss(z, y, True),
        lambda z, y: losses.segmentation_loss(z, y, False),
        lambda z, y: losses.lovasz_softmax(losses.upsample(z, (5, 7), True).softmax(1), y),
        lambda z, y: losses.soft_cross_entropy(z, torch.linspace(0, 1, 2 * 5 * 3 * 4).view(2, 5, 3, 4)),
        lambda z, y: losses.entropy(z),
        lambda z, y: losses.prototype_sums(z.permute(0, 2, 3, 1).reshape(-1, 5), y.reshape(-1)[:24], 5)[0],
    ],
)
def test_derivatives_are_those_of_the_value(loss) -> None:
    logits, _ = random_case(10, (3, 4))
    _, label = random_case(11, (5, 7))
    assert torch.autograd.gradcheck(lambda z: loss(z, label), (logits,))


def test_prototype_sums_equal_a_loop_over_classes() -> None:
    logits, label = random_case(12)
    features, labels = logits.permute(0, 2, 3, 1).reshape(-1, 5), label.reshape(-1)
    sums, counts = losses.prototype_sums(features, labels, 7)
    assert sums.shape == (7, 5)
    assert counts.dtype == torch.int64
    for c in range(7):
        torch.testing.assert_close(sums[c], features[labels == c].sum(0))
        assert counts[c] == (labels == c).sum()


def test_prototype_sums_stay_in_single_precision_under_autocast() -> None:
    features, labels = torch.full((4096, 1), 1.001), torch.zeros(4096, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums, _ = losses.prototype_sums(features, labels, 2)
    assert sums.dtype == torch.float32
    assert sums[0].item() == pytest.approx(4096 * 1.001, rel=1e-4)
