"""Cycles and their loss by strips equal the dense form, gradients included, and no
matrix of all pairs is built."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from udacore_clp import similarity
from udacore_clp.association import association_loss, cycle_associate
from udacore_clp.diagnostics import association_statistics

from udacore.errors import ConfigError

KINDS = ["cos", "kl"]


def maps(kind, *, count=2, channels=6, source=(5, 7), target=(5, 7), dtype=torch.float64, seed=0):
    """Source and target maps that take gradients, and labels of the source, a few of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(count, channels, *size, generator=generator, dtype=dtype) for size in (source, target))
    if kind == "kl":
        x, y = (2 * x).softmax(1), (2 * y).softmax(1)
    label = torch.randint(0, 3, (count, *source), generator=generator)
    label[torch.rand(label.shape, generator=generator) < 0.2] = 255
    return x.requires_grad_(), y.requires_grad_(), label


def dense_scores(rows, columns, kind):
    if kind == "cos":
        found = F.normalize(rows, dim=1).transpose(1, 2) @ F.normalize(columns, dim=1)
    else:
        found = -(rows[:, :, :, None] * ((rows + 1e-10).log()[:, :, :, None] - (columns + 1e-10).log()[:, :, None])).sum(1)
    mean, deviation = found.detach().mean(2, keepdim=True), found.detach().std(2, keepdim=True)
    return ((found - mean) / (deviation + 1e-10)).softmax(2), found


def dense_loss(source, target, label, kind, alpha):
    """The formulas of algorithms/clp 5.2 to 5.5 with whole matrices, differentiated by autograd."""
    x, y, label = source.flatten(2), target.flatten(2), label.flatten(1)
    if alpha is not None:
        scored, raw = dense_scores(y, y, kind)
        weight = scored if kind == "cos" else raw.softmax(2)
        y = (1 - alpha) * y + alpha * y @ weight.transpose(1, 2)
    there, back = dense_scores(x, y, kind)[0], dense_scores(y, x, kind)[0]
    first, to_target = there.max(2)
    second, to_source = back.max(2)
    trusted = (label != 255) & (label == label.gather(1, to_source.gather(1, to_target)))
    return -(first * second.gather(1, to_target))[trusted].log().mean()


def with_gradients(loss, *leaves):
    return loss.detach(), *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [None, 0.5, 0.3])
@pytest.mark.parametrize("rows", [512, 35, 16, 1])
def test_loss_and_gradients_are_those_of_whole_matrices(monkeypatch, kind, alpha, rows):
    monkeypatch.setattr(similarity, "ROWS", rows)
    x, y, label = maps(kind, target=(4, 6))
    found = association_loss(x, y, label, kind=kind, alpha=alpha)
    for ours, dense in zip(with_gradients(found.loss, x, y), with_gradients(dense_loss(x, y, label, kind, alpha), x, y), strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_deep_single_precision_maps_agree_with_double(memory):
    x, y, label = maps("cos", channels=300, source=(20, 30), target=(24, 25), dtype=torch.float32)
    leaves = [each.detach().contiguous(memory_format=memory).requires_grad_() for each in (x, y)]
    ours = with_gradients(association_loss(*leaves, label, kind="cos").loss, *leaves)
    exact = [each.detach().double().requires_grad_() for each in (x, y)]
    for found, expected in zip(ours, with_gradients(dense_loss(*exact, label, "cos", 0.5), *exact), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


def test_predictions_of_a_fresh_network_are_told_apart_in_single_precision():
    """Nearly equal probabilities: divergences of 1e-3 beside logarithms of 3."""
    x, y = ((0.05 * torch.randn(1, 19, 6, 10, generator=torch.Generator().manual_seed(seed))).softmax(1) for seed in (0, 1))
    exact, _ = dense_scores(x.flatten(2).double(), y.flatten(2).double(), "kl")
    torch.testing.assert_close(similarity.scored_similarity(x, y, "kl").double(), exact, rtol=2e-4, atol=1e-6)


def test_a_longer_vector_is_no_more_alike():
    x, y, label = maps("cos")
    for leaf, gradient in zip((x, y), torch.autograd.grad(association_loss(x, y, label, kind="cos", alpha=None).loss, (x, y)), strict=True):
        assert gradient.any()
        assert (leaf.detach() * gradient).sum(1).abs().max() < 1e-12


def test_strips_are_longer_on_a_device_with_room():
    """512 rows of 17 MiB on a CPU; elsewhere 128 MiB of them, or 512 where even those take more."""
    (cpu,), (small,), (large,) = (
        {strip.stop - strip.start for strip in similarity.strips(2**15, pixels(columns, device)) if strip.stop < 2**15}
        for columns, device in ((92 * 92, "cpu"), (92 * 92, "meta"), (2**20, "meta"))
    )
    assert (cpu, small, large) == (512, 2**25 // 92**2, 512)


def pixels(count, device):
    return similarity.make_pixels(torch.empty(1, count, device=device), "cos")


class Largest(TorchDispatchMode):
    """Remembers the most elements of any tensor made inside."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.layout is torch.strided:
                self.elements = max(self.elements, each.numel())
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_no_tensor_has_an_entry_for_each_pair_of_pixels(monkeypatch, kind):
    monkeypatch.setattr(similarity, "ROWS", 8)
    x, y, label = maps(kind, count=1, source=(20, 20), target=(20, 20), dtype=torch.float32)
    with Largest() as largest:
        association_loss(x, y, label, kind=kind).loss.backward()
    assert x[0].numel() <= largest.elements <= 8 * 400 < 400 * 400 / 10


@pytest.mark.parametrize("kind", KINDS)
def test_cycles_go_where_the_scores_are_largest(kind):
    x, y, _ = maps(kind, target=(3, 6))
    there, back = (dense_scores(*pair, kind)[0] for pair in ((x.flatten(2), y.flatten(2)), (y.flatten(2), x.flatten(2))))
    cycles = cycle_associate(x, y, kind)
    second, to_source = back.max(2)
    torch.testing.assert_close(cycles.to_target, there.argmax(2))
    torch.testing.assert_close(cycles.back, to_source.gather(1, cycles.to_target))
    torch.testing.assert_close(cycles.score, (there.amax(2) * second.gather(1, cycles.to_target)).detach())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_labelled_source_pixel_the_loss_is_a_zero_with_a_graph(kind):
    x, y, label = maps(kind)
    found = association_loss(x, y, torch.full_like(label, 255), kind=kind)
    loss, *gradients = with_gradients(found.loss, x, y)
    assert loss == 0
    assert not any(each.any() for each in gradients)
    assert not found.trusted.any()
    assert "pos_ratio" not in association_statistics(found, torch.full_like(label, 255), 35)


@pytest.mark.parametrize("kind", KINDS)
def test_one_labelled_pixel_is_enough(kind):
    x, _, label = maps(kind)
    only = torch.full_like(label, 255)
    only[1, 2, 3] = 4
    found = association_loss(x, x.detach(), only, kind=kind, alpha=None)  # each pixel is its own best partner
    assert found.trusted.nonzero().tolist() == [[1, 2 * 7 + 3]]
    assert found.loss > 0
    assert association_statistics(found, only, 35)["pos_ratio"] == 1


def test_a_pixel_without_features_is_like_no_other_and_takes_no_gradient():
    x, y, label = maps("cos")
    with torch.no_grad():
        x[0, :, 1, 1] = 0
    loss, of_x, of_y = with_gradients(association_loss(x, y, label, kind="cos").loss, x, y)
    assert all(each.isfinite().all() for each in (loss, of_x, of_y))
    assert not of_x[0, :, 1, 1].any()


def test_the_gradient_may_be_asked_for_again_and_for_one_side_only():
    x, y, label = maps("cos")
    loss = association_loss(x, y, label, kind="cos").loss
    first, again = (torch.autograd.grad(loss, (x, y), retain_graph=True) for _ in range(2))
    alone = torch.autograd.grad(3 * association_loss(x.detach(), y, label, kind="cos").loss, y)[0]
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(alone, 3 * first[1])


def test_half_precision_under_autocast_is_computed_in_single():
    x, y, label = maps("cos", dtype=torch.float32)
    half = [each.detach().bfloat16().requires_grad_() for each in (x, y)]
    with torch.autocast("cpu", torch.bfloat16):
        found = association_loss(*half, label, kind="cos").loss
    torch.testing.assert_close(found, association_loss(*(each.float() for each in half), label, kind="cos").loss)
    found.backward()
    assert half[0].grad.dtype == torch.bfloat16


def test_what_cannot_be_associated_is_refused_in_one_line():
    x, y, label = maps("cos")
    for source, target, labels, options, words in (
        (x[:, :, :1, :1], y, label[:, :1, :1], {}, "two pixels or more"),
        (x, y[:, :, :1, :1], label, {}, "two pixels or more"),
        (x[:1], y, label[:1], {}, "1 of 6 channels and 2 of 6"),
        (x, y, label[:, :2], {}, "do not belong to source maps"),
        (x, y, label, {"alpha": 1.0}, "between 0 and 1, not 1"),
        (x, y, label, {"kind": "l2"}, "possible: cos, kl"),
    ):
        with pytest.raises(ConfigError, match=words):
            association_loss(source, target, labels, **{"kind": "cos", **options})


def test_statistics_count_the_first_pairs_visits():
    x, y, label = maps("cos")
    found = association_loss(x, y, label, kind="cos")
    statistics = association_statistics(found, label, 35, torch.full((2, 5, 7), 255))
    assert statistics["cover_ratio"] == pytest.approx(len(set(found.to_target[0].tolist())) / 35)
    assert statistics["pos_ratio"] == found.trusted.sum() / (label != 255).sum()
    assert statistics["correct_ratio"] == -1
