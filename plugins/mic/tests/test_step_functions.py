"""The pure functions of a step, where the reference vectors say nothing: numbers of each
image, edges, and bad input."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from udacore_mic.augmentation import Jitter, gaussian_blur, jitter_colours
from udacore_mic.draws import draw_augmentation, draw_chance, draw_decisions, draw_noise, image_generators
from udacore_mic.losses import counting_cells, downscale_label, feature_distance, segmentation_loss
from udacore_mic.masking import block_mask, grid_size, masked_batch
from udacore_mic.mixing import Labelled, choose_values, class_mix, paste_mask, values_present
from udacore_mic.pseudo_labels import label_pixels

from udacore import ConfigError
from udacore.interface import Pixels

PIXELS = Pixels()


def images(count=3, size=(12, 17), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PIXELS.image(torch.rand(count, 3, *size, generator=generator))


def rows(jitter, *which):
    return Jitter(factors=jitter.factors[list(which)], order=jitter.order[list(which)])


def test_an_image_is_jittered_in_a_batch_as_alone():
    image, names = images(5), ("a", "b", "c", "d", "e")
    jitter = draw_augmentation(image_generators(torch.Generator(), names), (True, True), 0.2).jitter
    assert len({tuple(order) for order in jitter.order.tolist()}) > 2
    together = jitter_colours(image, jitter, PIXELS)
    for number in range(len(names)):
        alone = jitter_colours(image[[number]], rows(jitter, number), PIXELS)
        torch.testing.assert_close(together[[number]], alone, rtol=0, atol=0)
        assert (alone != image[[number]]).any()


def test_each_image_gets_its_own_blur():
    image = images(3, (40, 60))
    together = gaussian_blur(image, [0.3, 0.8, 1.15])
    for number, sigma in enumerate([0.3, 0.8, 1.15]):
        torch.testing.assert_close(together[[number]], gaussian_blur(image[[number]], [sigma]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.15, 0.6, 1.15])
def test_weights_left_out_of_a_long_kernel_change_nothing_that_float32_can_show(sigma):
    image = images(1, (512, 256)).double()
    rows, columns = 25, 12  # 51 and 25 are the largest odd numbers up to 0.1 x the size
    for radius, shape, pad in ((rows, (-1, 1), (0, 0, rows, rows)), (columns, (1, -1), (columns, columns, 0, 0))):
        place = torch.arange(-radius, radius + 1, dtype=torch.float64)
        weights = (-(place**2) / (2 * sigma**2)).exp()
        kernel = (weights / weights.sum()).view(1, 1, *shape).expand(3, 1, -1, -1)
        image = F.conv2d(F.pad(image, pad, mode="reflect"), kernel, groups=3)
    torch.testing.assert_close(gaussian_blur(images(1, (512, 256)), [sigma]).double(), image, rtol=0, atol=2e-6)


def test_what_is_drawn_for_an_image_depends_on_its_name_and_the_step_alone():
    def drawn(*names, seed=3):
        found = image_generators(torch.Generator().manual_seed(seed), names)
        augmentation = draw_augmentation(found, (True, True), 0.2)
        numbers = torch.cat([augmentation.jitter.factors, augmentation.jitter.order, torch.tensor(augmentation.sigma)[:, None]], 1)
        return dict(zip(names, torch.cat([numbers, draw_chance(found, 4), draw_noise(found, (2, 2)).flatten(1)], 1), strict=True))

    both, other = drawn("a", "b"), drawn("c", "b", "a")
    assert torch.equal(both["a"], other["a"])
    assert torch.equal(both["b"], other["b"])
    assert not torch.equal(both["a"], both["b"])
    assert not torch.equal(both["a"], drawn("a", seed=4)["a"])


def test_masked_images_share_order_and_sigma_and_have_factors_of_their_own():
    found = image_generators(torch.Generator(), ("a", "b"))
    drawn = draw_augmentation(found, (True, True), 0.2, torch.Generator().manual_seed(1))
    assert drawn.sigma[0] == drawn.sigma[1]
    assert torch.equal(drawn.jitter.order[0], drawn.jitter.order[1])
    assert (drawn.jitter.factors[0] != drawn.jitter.factors[1]).all()


def test_draws_lie_in_their_ranges():
    drawn = draw_augmentation(image_generators(torch.Generator(), [str(n) for n in range(300)]), (True, True), 0.2)
    low, high = torch.tensor([0.8, 0.8, 0.8, -0.2]), torch.tensor([1.2, 1.2, 1.2, 0.2])
    factors, spread = drawn.jitter.factors, high - low
    assert ((factors >= low) & (factors <= high)).all()
    assert (factors.amin(0) < low + 0.1 * spread).all()
    assert (factors.amax(0) > high - 0.1 * spread).all()
    assert min(drawn.sigma) >= 0.15
    assert max(drawn.sigma) <= 1.15
    generator = torch.Generator()
    share = torch.tensor([draw_decisions(generator, 0.2, 0.5) for _ in range(2000)]).float().mean(0)
    assert share.tolist() == pytest.approx([0.8, 0.5], abs=0.04)


def test_half_of_the_values_of_the_batch_rounded_up_are_chosen_and_255_is_one():
    label = torch.tensor([[[0, 0, 255]], [[2, 0, 0]]])
    present = values_present(label, 4)
    assert present.tolist() == [True, False, True, False, True]
    chosen = choose_values(present, torch.tensor([[0.0, 0.9, 0.5, 0.8, 0.6], [0.1, 0.9, 0.0, 0.8, 0.05]]))
    assert chosen.tolist() == [[False, False, True, False, True], [True, False, False, False, True]]
    assert paste_mask(label, chosen).tolist() == [[[False, False, True]], [[False, True, True]]]


def test_pixels_of_padding_weigh_nothing_and_count_nowhere_and_margins_count_in_the_share():
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 0, 0] = 20.0  # the first row is sure
    valid = torch.tensor([[[True, True], [True, False]]])
    trust = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    found = label_pixels(logits, 0.9, valid=valid, trust=trust)
    assert found.quality.item() == pytest.approx(2 / 3)
    np.testing.assert_allclose(found.weight[0], [[0, 2 / 3], [2 / 3, 0]], rtol=1e-6)
    nothing = label_pixels(logits, 0.9, valid=torch.zeros_like(valid))
    assert nothing.quality.item() == 0
    assert not nothing.weight.any()


def test_losses_over_nothing_are_zeros_that_have_a_graph():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), 255))
    feature = torch.randn(1, 3, 2, 2, requires_grad=True)
    distance = feature_distance(feature, torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    (loss + distance).backward()
    assert loss.item() == distance.item() == 0
    assert not logits.grad.any()
    assert not feature.grad.any()


def test_the_share_of_a_cell_is_compared_in_whole_pixels():
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    label[0, 0, 0] = 1
    assert downscale_label(label, 2, 0.75, 3).item() == 0  # three of four pixels are 0.75
    label[0, 0, 1] = 255
    assert downscale_label(label, 2, 0.5, 3).item() == 0
    assert downscale_label(label, 2, 0.75, 3).item() == 255


def test_a_pasted_label_weighs_one_and_leaves_the_weights_of_the_target_as_they_are():
    mask = torch.tensor([[[True, False]]])
    target = Labelled(torch.zeros(1, 3, 1, 2), torch.tensor([[[1, 1]]]), torch.full((1, 1, 2), 0.25))
    mixed = class_mix(mask, Labelled(torch.ones(1, 3, 1, 2), torch.tensor([[[0, 0]]]), None), target)
    assert mixed.weight.tolist() == [[[1.0, 0.25]]]
    assert mixed.label.tolist() == [[[0, 1]]]
    assert mixed.image[0, 0].tolist() == [[1.0, 0.0]]
    assert target.weight.tolist() == [[[0.25, 0.25]]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: grid_size((20, 40), 64), "images of 40 x 20 have no block of 64 x 64 to hide; possible: at most 39"),
        (lambda: downscale_label(torch.zeros(1, 4, 16).long(), 8, 0.5, 3), "labels of 16 x 4 have no cell of 8 x 8"),
        (lambda: counting_cells(torch.zeros(1, 4, 4).long(), 5, [0], 0.5, 3), "the features are 5 wide and the labels 4"),
        (
            lambda: masked_batch("both", *(Labelled(torch.zeros(3, 3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)),) * 2),
            "masked: both hides half of the images of each domain, so each process needs an even number of them, not 3; change batch or accumulation",
        ),
        (
            lambda: feature_distance(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3).bool()),
            "features of (3, 3) rows and columns, cells of (2, 3)",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_named(call, says):
    with pytest.raises((ConfigError, ValueError), match=re.escape(says)):
        call()


def test_half_a_block_is_rounded_to_the_even_number_and_every_pixel_has_one():
    assert grid_size((40, 24), 16) == (2, 2)
    mask = block_mask(torch.rand(2, 1, 3, 5), 0.7, (50, 70))
    assert mask.shape == (2, 1, 50, 70)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
