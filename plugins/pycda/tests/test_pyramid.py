from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from udacore_pycda import visit
from udacore_pycda.losses import source_loss
from udacore_pycda.prior import pool_prior
from udacore_pycda.pyramid import Pyramid, Weights, binary_cross_entropy, pseudo_labels, target_losses
from udacore_pycda.visit import answer

CLASSES = 5


def logits_of(*size, scale=3.0, seed=0, dtype=torch.float32):
    """Smooth, so that squares are confident too."""
    coarse = torch.randn(size[0], CLASSES, 3, 4, generator=torch.Generator().manual_seed(seed))
    return (scale * F.interpolate(coarse, size[1:], mode="bilinear")).to(dtype)


def some_valid(*size):
    valid = torch.ones(size, dtype=torch.bool)
    valid[:, : size[1] // 3] = False
    return valid


def a_prior(height, width, sides):
    weights = torch.rand(CLASSES, height, width, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return {side: pool_prior((weights / weights.sum(0)).numpy(), side) for side in sides}


def written_plainly(logits, valid, sides, *, merge, threshold=0.5, prior=None):
    """Spec pycda 5.2 to 5.5, with a softmax for each level and the terms picked out."""

    def level(side):
        z = F.avg_pool2d(logits, side) if side > 1 else logits
        inside = F.max_pool2d(valid[:, None].to(logits.dtype), side)[:, 0] > 0
        confidence, label = z.detach().softmax(1).max(1)
        selected = inside & (confidence > threshold)
        return z, selected, F.cross_entropy(z, label, reduction="none")

    terms = {side: (e * selected)[(e * selected) != 0] for side in (1, *sides) for z, selected, e in [level(side)]}
    mean = logits.softmax(1).mean((0, 2, 3))
    total = binary_cross_entropy(mean, torch.full_like(mean, 1 / CLASSES)).mean()
    total = total + torch.cat([terms[side] for side in ((1, *sides) if merge else sides)]).mean()
    if not merge:
        total = total + terms[1].mean()
    if prior is not None:
        found = []
        for side in sides:
            z, selected, _ = level(side)
            s = binary_cross_entropy(z.mean(0).softmax(0), prior[side].to(z.dtype)).mean(0) * selected
            found.append(s[s != 0])
        total = total + 0.4 * torch.cat(found).mean()
    return total


def both_forms(logits, valid, sides, **choices):
    gradients, values = [], []
    for form in ("plain", "ours"):
        leaf = logits.clone().requires_grad_()
        if form == "plain":
            value = written_plainly(leaf, valid, sides, **choices)
        else:
            seen = Pyramid(logits=leaf, valid=valid, box_sizes=sides)
            weights = Weights(spatial=0.0 if choices.get("prior") is None else 0.4)
            terms = target_losses(seen, weights, merge_pixels=choices["merge"], prior=choices.get("prior"))
            value = torch.stack(list(terms.values())).sum()
        value.backward()
        gradients.append(leaf.grad)
        values.append(value.detach())
    return values, gradients


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("sides", [(4, 8), (2, 4, 8), (3, 5), (6, 4), (7,)])
def test_one_visit_gives_what_a_softmax_for_each_level_gives(sides, merge, monkeypatch):
    monkeypatch.setattr(visit, "_VALUES_AT_ONCE", 4 * 31 * CLASSES)  # several blocks, the last one cut
    logits, valid = logits_of(2, 26, 31, dtype=torch.float64), some_valid(2, 26, 31)
    values, gradients = both_forms(logits, valid, sides, merge=merge, prior=a_prior(26, 31, sides))
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


def test_memory_format_and_half_precision_change_nothing():
    logits, valid = logits_of(2, 16, 24), some_valid(2, 16, 24)
    values, gradients = both_forms(logits.contiguous(memory_format=torch.channels_last), valid, (4, 8), merge=False)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)
    low = logits.bfloat16()
    found = [Pyramid(logits=each, valid=valid).pixel_loss()[0] for each in (low, low.float())]
    torch.testing.assert_close(*found)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean = Pyramid(logits=logits, valid=valid).mean_prediction()
    torch.testing.assert_close(mean, Pyramid(logits=logits, valid=valid).mean_prediction(), rtol=0, atol=0)


def test_each_level_has_the_gradient_of_its_own():
    logits, valid = logits_of(1, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
    levels = {
        "pixel": lambda seen: seen.pixel_loss()[0],
        "region": lambda seen: seen.region_loss()[0],
        "image": lambda seen: seen.image_loss("uniform"),
    }
    whole = sum(torch.autograd.grad(of(Pyramid(logits=leaf, valid=valid)), leaf)[0] for of in levels.values() for leaf in [logits.clone().requires_grad_()])
    _, (_, together) = both_forms(logits, valid, (4, 8), merge=False)
    torch.testing.assert_close(whole, together)


@pytest.mark.parametrize("sides", [(), (4, 8)])
def test_where_nothing_is_confident_the_loss_is_zero_and_has_a_graph(sides):
    logits = torch.zeros(2, CLASSES, 8, 8, requires_grad=True)
    seen = Pyramid(logits=logits, valid=torch.ones(2, 8, 8, dtype=torch.bool), box_sizes=sides)
    losses = {"pixel": seen.pixel_loss()[0], "region": seen.region_loss()[0], "spatial": seen.spatial_loss(a_prior(8, 8, sides))}
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0)
    (gradient,) = torch.autograd.grad(torch.stack(list(losses.values())).sum(), logits)
    assert torch.equal(gradient, torch.zeros_like(logits))


def test_one_valid_pixel_is_a_pixel_and_a_square_of_each_side():
    valid = torch.zeros(2, 8, 8, dtype=torch.bool)
    valid[1, 5, 2] = True
    seen = Pyramid(logits=logits_of(1, 8, 8).repeat(2, 1, 1, 1) * 4, valid=valid)
    assert (seen.pixel_loss()[1].item(), seen.region_loss()[1].item()) == (1, 2)


def test_no_valid_pixel_leaves_the_image_level_alone():
    losses = target_losses(Pyramid(logits=logits_of(1, 8, 8).requires_grad_(), valid=torch.zeros(1, 8, 8, dtype=torch.bool)), Weights())
    assert (losses["pixel"].item(), losses["region"].item()) == (0, 0)
    assert losses["image"].item() > 0


@pytest.mark.parametrize(("sides", "merge", "names"), [
    ((4, 8), False, {"image", "pixel", "region", "spatial"}),
    ((4, 8), True, {"image", "region", "spatial"}),
    ((), False, {"image", "pixel"}),
    ((), True, {"image", "pixel"}),
])  # fmt: skip
def test_which_levels_make_up_the_loss(sides, merge, names):
    seen = Pyramid(logits=logits_of(1, 8, 8), valid=torch.ones(1, 8, 8), box_sizes=sides)
    assert set(target_losses(seen, Weights(spatial=0.4), merge_pixels=merge, prior=a_prior(8, 8, sides))) == names


def test_squares_that_do_not_fit_into_the_image_do_not_count():
    logits, valid = logits_of(1, 6, 9), torch.ones(1, 6, 9)
    seen = Pyramid(logits=logits, valid=valid, box_sizes=(4, 8))
    alone = Pyramid(logits=logits, valid=valid, box_sizes=(4,))
    assert seen.region_loss() == alone.region_loss()
    assert set(pseudo_labels(logits, valid, 0.5, (4, 8))) == {1, 4}
    tiny = Pyramid(logits=logits[:, :, :1, :1], valid=valid[:, :1, :1])
    assert tiny.region_loss()[1].item() == 0


def test_a_tie_pulls_at_the_lowest_class_alone():
    logits = torch.full((1, CLASSES, 1, 1), -50.0)
    logits[:, 2:4] = 1.0
    leaf = logits.requires_grad_()
    Pyramid(logits=leaf, valid=torch.ones(1, 1, 1), threshold=0.4).pixel_loss()[0].backward()
    torch.testing.assert_close(leaf.grad.flatten(), torch.tensor([0.0, 0, -0.5, 0.5, 0]))


@pytest.mark.parametrize("sides", [(3, 6), (4, 12, 24), (2, 3, 6)])
def test_classes_that_are_equal_on_a_square_stay_equal_however_it_is_made(sides):
    side, generator = sides[-1], torch.Generator().manual_seed(0)
    # in each square the same numbers for all classes, in an order of each class's own
    numbers = torch.randint(-80, 80, (1, 24 // side, 24 // side, side * side), generator=generator).expand(CLASSES, -1, -1, -1)
    order = torch.rand(numbers.shape, generator=generator).argsort(-1)
    squares = numbers.gather(-1, order).float().unflatten(-1, (side, side))
    logits = squares.transpose(2, 3).reshape(1, CLASSES, 24, 24)
    found = pseudo_labels(logits, torch.ones(1, 24, 24), 0.1, sides)[side]
    assert torch.equal(found.label, F.avg_pool2d(logits, side).argmax(1))
    assert not found.label.any()


def test_a_probability_at_the_threshold_is_not_above_it():
    logits = torch.full((1, CLASSES, 1, 1), -200.0)
    logits[:, :2] = 3.0
    assert Pyramid(logits=logits, valid=torch.ones(1, 1, 1), threshold=0.5).pixel_loss()[1].item() == 0


def test_saturated_pixels_leave_the_mean():
    logits = torch.zeros(1, CLASSES, 1, 2)
    logits[0, 0, 0] = torch.tensor([100.0, 3.0])
    loss, count = Pyramid(logits=logits, valid=torch.ones(1, 1, 2)).pixel_loss()
    assert count.item() == 1
    torch.testing.assert_close(loss, -logits[0, :, 0, 1].log_softmax(0)[0])


@pytest.mark.parametrize("seed", range(4))
def test_who_is_saturated_is_decided_as_by_torchs_own_softmax(seed):
    """Sums near 1 round to 1 or not by the order of their terms; a pixel more or less in the
    mean is seen in its value."""
    logits = 20 * torch.randn(2, 19, 33, 41, generator=torch.Generator().manual_seed(seed))
    loss = F.cross_entropy(logits, logits.argmax(1), reduction="none")
    terms = loss[(loss != 0) & (logits.softmax(1).max(1).values > 0.5)]
    pooled = F.avg_pool2d(logits, 4)  # sure enough to be saturated now and then
    squares = F.cross_entropy(4 * pooled, pooled.argmax(1), reduction="none")
    seen = answer(4 * pooled, torch.ones_like(squares, dtype=torch.bool), 0.0)
    value, count = Pyramid(logits=logits, valid=torch.ones(2, 33, 41), box_sizes=()).pixel_loss()
    assert (count.item(), seen.count.item()) == (len(terms), (squares != 0).sum().item())
    torch.testing.assert_close(value, terms.mean())


def test_the_papers_image_target_needs_a_histogram():
    seen = Pyramid(logits=logits_of(1, 8, 8), valid=torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="needs a histogram"):
        seen.image_loss("source_histogram")
    uniform = seen.image_loss("source_histogram", torch.full((CLASSES,), 1 / CLASSES))
    torch.testing.assert_close(uniform, seen.image_loss("uniform"))


def test_a_part_without_a_labelled_pixel_counts_as_zero_in_the_mean_of_the_parts():
    logits, label = logits_of(2, 8, 8).requires_grad_(), torch.zeros(2, 8, 8, dtype=torch.int64)
    label[1] = 255
    torch.testing.assert_close(source_loss(logits, label, False, replicas=2), source_loss(logits[:1], label[:1], False) / 2)
    empty = source_loss(logits, torch.full_like(label, 255), False)
    (gradient,) = torch.autograd.grad(empty, logits)
    assert (empty.item(), gradient.abs().sum().item()) == (0, 0)
