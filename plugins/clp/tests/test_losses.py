"""Sampling, the regulariser, the adversarial losses and the terms of the objective."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from udacore_clp.adversarial import discriminator_loss, generator_loss
from udacore_clp.objective import association_losses, smoothness_losses, source_losses
from udacore_clp.regularizer import smoothness_loss
from udacore_clp.sampling import Maps, choose_pixels, downsample_label, draw_grid, sample_grid

from udacore.errors import ConfigError
from udacore.losses import Pool, gather_pool, lovasz_softmax
from udacore.testing.processes import part


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_label(*shape, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, shape, generator=generator)
    label[torch.rand(shape, generator=generator) < 0.2] = 255
    return label


def domain(seed, size=(10, 12)):
    return Maps(random(2, 5, *size, seed=seed), random(2, 4, *size, seed=seed + 1))


def test_the_regularisers_gradient_pulls_to_the_threshold_from_both_sides():
    logits = (4 * random(2, 5, 3, 4, dtype=torch.float64)).requires_grad_()
    smoothness = -logits.log_softmax(1).mean(1)
    threshold = smoothness.median().item()
    (expected,) = torch.autograd.grad((smoothness - threshold).square().mean() / (2 * threshold), logits)
    torch.testing.assert_close(torch.autograd.grad(smoothness_loss(logits, threshold), logits)[0], expected)
    torch.testing.assert_close(smoothness_loss(logits, 0.0), smoothness.mean())


def test_smoothness_of_equal_logits_is_the_log_of_the_number_of_classes():
    assert smoothness_loss(torch.zeros(1, 19, 2, 2), 0.0).item() == pytest.approx(math.log(19))
    assert smoothness_loss(torch.zeros(1, 19, 2, 2).bfloat16()).dtype == torch.float32


def test_adversarial_losses_are_binary_cross_entropies_one_mean_over_both_domains():
    source, target = random(2, 1, 3, 4), random(1, 1, 2, 2, seed=1)
    scores, wanted = torch.cat([source.flatten(), target.flatten()]), torch.tensor([1.0] * 24 + [0.0] * 4)
    torch.testing.assert_close(discriminator_loss(source, target), F.binary_cross_entropy_with_logits(scores, wanted))
    torch.testing.assert_close(generator_loss(target), F.binary_cross_entropy_with_logits(target, torch.ones_like(target)))


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_a_grid_draws_each_row_and_column_once_and_anew_for_each_image():
    rows, columns = draw_grid(generators(0, 1, 2), (10, 12), 0.55)
    assert (rows.shape, columns.shape) == ((3, 5), (3, 6))
    assert all(len(set(each.tolist())) == len(each) for each in (*rows, *columns))
    assert rows[0].tolist() != rows[1].tolist()
    again = draw_grid(generators(2, 0), (10, 12), 0.55)
    torch.testing.assert_close((rows[[2, 0]], columns[[2, 0]]), again)


def test_a_sampled_grid_holds_the_crossings():
    x, rows, columns = random(2, 3, 5, 6), torch.tensor([[4, 0], [1, 2]]), torch.tensor([[5], [3]])
    found = sample_grid(x, rows, columns)
    assert found.shape == (2, 3, 2, 1)
    assert found[1, 2, 0, 0] == x[1, 2, 1, 3]
    assert sample_grid(x[:, 0], rows, columns)[0, 1, 0] == x[0, 0, 0, 5]


def test_chosen_maps_and_labels_have_one_size_and_labels_stay_with_their_pixels():
    source, target, label = domain(0), domain(2, (8, 9)), random_label(2, 73, 89)
    for sampling, sizes in (("none", ((10, 12), (8, 9))), ("grid", ((5, 6), (4, 4))), ("downsample", ((5, 6), (4, 4)))):
        x, y, small = choose_pixels(source, target, label, sampling=sampling, factor=0.5, generators=(generators(3, 4), generators(5, 6)))
        assert (x.size, y.size, tuple(small.shape[1:])) == (*sizes, sizes[0])
        assert x.features.shape[2:] == x.size
    marked = Maps(downsample_label(label, source.size)[:, None].float(), source.logits)
    x, _, small = choose_pixels(marked, target, label, sampling="grid", factor=0.5, generators=(generators(3, 4), generators(5, 6)))
    torch.testing.assert_close(x.features[:, 0].long(), small)


@pytest.mark.parametrize("sampling", ["grid", "downsample"])
def test_a_factor_that_leaves_nothing_is_refused(sampling):
    with pytest.raises(ConfigError, match="leaves nothing of a map of 10 x 12"):
        choose_pixels(domain(0), domain(2), random_label(2, 73, 89), sampling=sampling, factor=0.05)


def test_the_prediction_level_trains_the_logits_and_the_feature_level_the_features():
    source, target, label = domain(0), domain(2), random_label(2, 10, 12)
    for leaf in (source.features, source.logits, target.features, target.logits):
        leaf.requires_grad_()
    losses = association_losses(source, target, label)
    for name, trained, other in (("features", "features", "logits"), ("probability", "logits", "features")):
        leaves = [getattr(each, level) for level in (trained, other) for each in (source, target)]
        gradients = torch.autograd.grad(losses[name].loss, leaves, allow_unused=True)
        assert all(each.any() for each in gradients[:2])
        assert gradients[2:] == (None, None)
    assert list(association_losses(source, target, label, multi_level=False)) == ["features"]
    assert list(smoothness_losses(source.logits, target.logits)) == ["source", "target"]


def test_source_losses_without_a_labelled_pixel_are_zeros_with_a_graph():
    logits = random(1, 4, 3, 3).requires_grad_()
    losses = source_losses(logits, torch.full((1, 9, 9), 255))
    assert {name: loss.item() for name, loss in losses.items()} == {"cross_entropy": 0, "lovasz": 0}
    sum(losses.values()).backward()
    assert not logits.grad.any()
    assert list(source_losses(logits, torch.zeros(1, 9, 9).long(), 0.0)) == ["cross_entropy"]


def halves():
    """Two ranks' probabilities and labels; class 2 is labelled on one of them only."""
    logits, label = random(2, 4, 6, 7, dtype=torch.float64), random_label(2, 6, 7)
    label[1][label[1] == 2] = 0
    return logits, label


def whole_lovasz():
    logits, label = halves()
    logits.requires_grad_()
    loss = lovasz_softmax(logits.softmax(1), label)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def test_the_mean_of_the_ranks_shares_is_the_lovasz_of_the_pool():
    logits, label = halves()
    probability = logits.requires_grad_().softmax(1)
    shares = [
        lovasz_softmax(probability[i : i + 1], label[i : i + 1], pool=Pool(probability=probability.detach()[:, None], label=label[:, None], rank=i))
        for i in range(2)
    ]
    loss, gradient = whole_lovasz()
    torch.testing.assert_close(torch.stack(shares).mean().detach(), loss)
    torch.testing.assert_close(torch.autograd.grad(torch.stack(shares).mean(), logits)[0], gradient)


def _on_one_of_two_ranks(rank, file):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    logits, label = halves()
    own = logits[rank : rank + 1].clone().requires_grad_()
    probability, mine = own.softmax(1), label[rank : rank + 1]
    share = lovasz_softmax(probability, mine, pool=gather_pool(probability, mine))
    share.backward()
    mean = share.detach() / 2
    dist.all_reduce(mean)
    torch.testing.assert_close(source_losses(own, mine, 1.0)["lovasz"], share)
    part()
    loss, gradient = whole_lovasz()
    torch.testing.assert_close(mean, loss)
    torch.testing.assert_close(own.grad / 2, gradient[rank : rank + 1])


def test_two_processes_have_the_lovasz_of_one(tmp_path):
    mp.spawn(_on_one_of_two_ranks, args=(tmp_path / "meeting",), nprocs=2)


def test_one_process_pools_with_nobody():
    assert gather_pool(random(1, 2, 3, 3), random_label(1, 3, 3)) is None
