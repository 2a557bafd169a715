from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from udacore_fada import losses
from udacore_fada.losses import Encoding, domain_cross_entropy, segmentation_loss, soft_labels

from udacore.losses import soft_cross_entropy


def pair(classes, *, images=2, small=(5, 7), dtype=torch.float32, seed=0):
    """Answers of a discriminator and logits of a segmenter."""
    generator = torch.Generator().manual_seed(seed)
    answers = 2 * torch.randn(images, 2 * classes, *small, generator=generator, dtype=dtype)
    logits = 3 * torch.randn(images, classes, *small, generator=generator, dtype=dtype)
    return answers.requires_grad_(), logits


def padded(answers, logits, encoding):
    """The two losses as the paper writes them: encodings of 2K channels, everything at the image's size."""

    def enlarge(x):
        return F.interpolate(x, size=encoding.size, mode="bilinear", align_corners=encoding.align_corners)

    soft = soft_labels(enlarge(logits), encoding.temperature, encoding.clip)
    nothing = torch.zeros_like(soft)
    encodings = torch.cat([soft, nothing], 1), torch.cat([nothing, soft], 1)
    return tuple(-(target * enlarge(answers).log_softmax(1)).sum(1).mean() for target in encodings)


@pytest.mark.parametrize("classes", [19, 16])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(33, 50), (5, 7), (1, 1)])
def test_both_losses_and_their_gradients_are_those_of_padded_encodings(classes, align_corners, size):
    answers, logits = pair(classes)
    encoding = Encoding(size=size, align_corners=align_corners)
    for ours, theirs in zip(domain_cross_entropy(answers, logits, encoding), padded(answers, logits, encoding), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)
        found, expected = (torch.autograd.grad(loss, answers, retain_graph=True)[0] for loss in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-7)


def test_any_mix_of_both_losses_has_the_gradient_of_the_mix():
    answers, logits = pair(4, dtype=torch.float64, small=(3, 2))
    encoding = Encoding(size=(7, 6))
    mix = torch.tensor([0.3, -1.7], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: (mix * torch.stack(domain_cross_entropy(x, logits, encoding))).sum(), answers)


def test_soft_labels_take_no_gradient():
    answers, logits = pair(4)
    logits.requires_grad_()
    sum(domain_cross_entropy(answers, logits, Encoding(size=(9, 9)))).backward()
    assert logits.grad is None
    assert answers.grad.any()


def test_the_height_of_stripes_changes_nothing_but_rounding(monkeypatch):
    answers, logits = pair(5, small=(6, 4))
    encoding = Encoding(size=(41, 23))
    found = []
    for limit in (1, 3000, 1 << 30):
        monkeypatch.setitem(losses._STRIPE, "cpu", limit)
        both = torch.stack(domain_cross_entropy(answers, logits, encoding))
        found.append((both, *torch.autograd.grad(both[0], answers)))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_half_precision_is_widened():
    answers, logits = pair(4)
    encoding = Encoding(size=(9, 13))
    half = answers.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        as_source, _ = domain_cross_entropy(half, logits.bfloat16(), encoding)
    expected, _ = padded(half.float(), logits.bfloat16().float(), encoding)
    torch.testing.assert_close(as_source, expected)
    as_source.backward()
    assert half.grad.dtype == torch.bfloat16


def test_what_is_not_finite_shows_in_the_loss():
    answers, logits = pair(4)
    with torch.no_grad():
        answers[0, 0, 0, 0] = math.inf
    assert not any(loss.isfinite() for loss in domain_cross_entropy(answers, logits, Encoding(size=(9, 9))))


def test_half_of_the_channels_is_compared_without_building_the_other():
    answers, logits = pair(6)
    soft = soft_labels(logits)
    for first, target in ((0, [soft, torch.zeros_like(soft)]), (6, [torch.zeros_like(soft), soft])):
        expected = soft_cross_entropy(answers, torch.cat(target, 1))
        torch.testing.assert_close(soft_cross_entropy(answers, soft, first=first), expected)


def test_soft_labels_are_clipped_and_not_normalised_again():
    soft = soft_labels(torch.tensor([[9.0, 0.0, -5.0], [1.0, 1.0, 1.0]])[:, :, None, None])
    assert soft[0, 0].item() == pytest.approx(0.9)
    assert 0.9 <= soft[0].sum().item() < 1
    assert soft[1].flatten().tolist() == pytest.approx([1 / 3] * 3)
    assert soft_labels(torch.tensor([[9.0, 0.0]])[:, :, None, None], 1.0, 1.0)[0, 0].item() > 0.99


def test_the_temperature_divides_the_logits_of_the_cross_entropy():
    _, logits = pair(4)
    label = torch.randint(0, 4, (2, 5, 7), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(segmentation_loss(logits, label, 1.8), F.cross_entropy(logits / 1.8, label))


@pytest.mark.parametrize("empty", [0.0, math.nan])
def test_without_a_valid_pixel_the_value_is_the_callers_and_the_gradient_zero(empty):
    _, logits = pair(4)
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.full((2, 9, 13), 255), empty=empty)
    loss.backward()
    assert loss.item() == empty or (math.isnan(empty) and loss.isnan())
    assert not logits.grad.any()
    assert logits.grad.isfinite().all()


def test_a_class_that_is_never_predicted_leaves_losses_and_gradients_finite():
    torch.manual_seed(0)
    domain_logits, class_logits = torch.randn(2, 10, 4, 6, requires_grad=True), torch.randn(2, 5, 4, 6)
    class_logits[:, 3] = -1e4
    as_source, as_target = domain_cross_entropy(domain_logits, class_logits, Encoding(size=(16, 24)))
    (as_source + as_target).backward()
    assert bool(torch.isfinite(as_source) & torch.isfinite(as_target))
    assert bool(domain_logits.grad.isfinite().all())
    # No soft label holds it, so both of its answers are only ever lowered.
    assert bool((domain_logits.grad[:, [3, 8]] > 0).all())
