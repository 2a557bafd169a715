from __future__ import annotations

import math

import pytest
import torch
from udacore_proca.losses import mask_confident, prototype_contrast_loss, supervised_loss

from udacore.interface import IGNORE


def pixels(count=40, classes=5, channels=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, channels, generator=generator, dtype=dtype)
    prototype = torch.randn(classes, channels, generator=generator, dtype=dtype)
    label = torch.randint(0, classes, (count,), generator=generator)
    label[::7] = IGNORE
    return prototype, x.requires_grad_(), label


@pytest.mark.parametrize("tau", [0.1, 1.0, 50.0])
def test_contrast_has_the_gradient_of_its_value(tau):
    prototype, x, label = pixels()
    assert torch.autograd.gradcheck(lambda x: prototype_contrast_loss(prototype, x, label, tau), (x,))


def test_contrast_is_the_mean_of_a_softmax_over_cosines():
    prototype, x, label = pixels()
    rows = []
    for pixel, c in zip(x, label.tolist(), strict=True):
        if c != IGNORE:
            score = [torch.nn.functional.cosine_similarity(pixel, p, dim=0) / 0.5 for p in prototype]
            rows.append(torch.logsumexp(torch.stack(score), 0) - score[c])
    torch.testing.assert_close(prototype_contrast_loss(prototype, x, label, 0.5), torch.stack(rows).mean())


def test_contrast_with_the_published_temperature_stays_within_a_twentyfifth_of_ln_c():
    prototype, x, label = pixels(classes=19)
    assert abs(float(prototype_contrast_loss(prototype, x, label, 50.0).detach()) - math.log(19)) <= 0.04


def test_prototypes_are_constants():
    prototype, x, label = pixels()
    prototype.requires_grad_()
    prototype_contrast_loss(prototype, x, label, 1.0).backward()
    assert prototype.grad is None


def test_a_prototype_of_zero_length_is_a_negative_of_similarity_zero():
    prototype, x, label = pixels(classes=2)
    label[:] = 0
    loss = prototype_contrast_loss(torch.stack([prototype[0], torch.zeros_like(prototype[0])]), x, label, 1.0)
    cosine = torch.nn.functional.cosine_similarity(x, prototype[:1])
    torch.testing.assert_close(loss, torch.log1p(torch.exp(-cosine)).mean())


def test_a_pixel_of_zero_length_has_no_gradient():
    prototype, x, label = pixels()
    with torch.no_grad():
        x[1] = 0
    prototype_contrast_loss(prototype, x, label, 1.0).backward()
    assert x.grad.isfinite().all()
    assert not x.grad[1].any()
    assert x.grad[2].any()


def test_contrast_of_no_valid_pixel_is_a_zero_with_a_graph():
    prototype, x, label = pixels()
    loss = prototype_contrast_loss(prototype, x, torch.full_like(label, IGNORE), 50.0)
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


def test_contrast_is_computed_in_float32_under_autocast():
    prototype, x, label = pixels(dtype=torch.float32)
    plain = prototype_contrast_loss(prototype, x, label, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = prototype_contrast_loss(prototype, x, label, 0.1)
    assert mixed.item() == plain.item()


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 4, 3, 4, generator=generator, dtype=dtype)
    label = torch.randint(0, 4, (2, 9, 13), generator=generator)
    label[:, :2] = IGNORE
    return logits.requires_grad_(), label


def test_supervised_loss_has_the_gradient_of_its_value():
    logits, label = batch()
    assert torch.autograd.gradcheck(lambda z: sum(supervised_loss(z, label, 0.75).values()), (logits,))


def test_supervised_loss_does_not_depend_on_the_order_of_the_images():
    logits, label = batch()
    there = supervised_loss(logits, label, 0.75)
    back = supervised_loss(logits.flip(0), label.flip(0), 0.75)
    for name, value in there.items():
        torch.testing.assert_close(back[name], value)


def test_lovasz_is_left_out_where_its_weight_is_zero():
    logits, label = batch()
    assert set(supervised_loss(logits, label, 0.0)) == {"cross_entropy"}


def test_supervised_loss_of_no_valid_pixel_is_a_zero_with_a_graph():
    logits, label = batch()
    losses = supervised_loss(logits, torch.full_like(label, IGNORE), 0.75)
    sum(losses.values()).backward()
    assert [value.item() for value in losses.values()] == [0, 0]
    assert not logits.grad.any()


def test_confidence_is_read_from_the_raw_logit():
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, 1, 0] = torch.tensor([0.89, 0.9, 5.0, -1.0])
    assert mask_confident(logits, 0.9).tolist() == [[[IGNORE, 1, 1, IGNORE]]]
