"""Aggregation by strips equals attention with the whole matrix, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from udacore_clp import similarity
from udacore_clp.aggregation import aggregate
from udacore_clp.similarity import product, scored_similarity

from udacore.errors import ConfigError

KINDS = ["cos", "kl"]


def a_map(kind, *, count=2, channels=5, size=(5, 6), dtype=torch.float64):
    x = torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return ((2 * x).softmax(1) if kind == "kl" else x).requires_grad_()


def dense(x, kind, alpha):
    flat = x.flatten(2)
    if kind == "cos":
        alike = F.normalize(flat, dim=1).transpose(1, 2) @ F.normalize(flat, dim=1)
        alike = (alike - alike.detach().mean(2, keepdim=True)) / (alike.detach().std(2, keepdim=True) + 1e-10)
    else:
        alike = flat.transpose(1, 2) @ (flat + 1e-10).log()
    return ((1 - alpha) * flat + alpha * flat @ alike.softmax(2).transpose(1, 2)).reshape(x.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.5, 0.2])
@pytest.mark.parametrize("rows", [512, 30, 11, 1])
def test_mixture_and_gradient_are_those_of_the_whole_matrix(monkeypatch, kind, alpha, rows):
    monkeypatch.setattr(similarity, "ROWS", rows)
    x, towards = a_map(kind), a_map("cos").detach()
    ours, whole = aggregate(x, kind, alpha), dense(x, kind, alpha)
    torch.testing.assert_close(ours, whole)
    found, expected = (torch.autograd.grad((each * towards).sum(), x)[0] for each in (ours, whole))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)


def test_numerical_derivatives_agree():
    """Of `kl`, which has no detached statistics."""
    assert torch.autograd.gradcheck(lambda x: aggregate(x, "kl", 0.4), a_map("kl", count=1, size=(2, 3)))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_deep_single_precision_maps_agree_with_double(memory):
    """Long sums take another product than short ones."""
    x = a_map("cos", channels=300, size=(30, 40), dtype=torch.float32).detach().contiguous(memory_format=memory).requires_grad_()
    exact = x.detach().double().requires_grad_()
    ours, whole = aggregate(x, "cos"), dense(exact, "cos", 0.5)
    torch.testing.assert_close(ours.double(), whole, rtol=1e-5, atol=1e-5)
    found, expected = (torch.autograd.grad(each.square().sum(), leaf)[0] for each, leaf in ((ours, x), (whole, exact)))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("contiguous", [True, False])
def test_a_product_of_views_is_that_of_matrices(contiguous):
    x, y = (torch.randn(600, 300, generator=torch.Generator().manual_seed(seed))[20:, :280] for seed in (0, 1))
    other = y.T.contiguous() if contiguous else y.T
    torch.testing.assert_close(product(x, other), (x.double() @ y.T.double()).float(), rtol=1e-5, atol=1e-4)
    assert product(x, other[:, :0]).shape == (580, 0)


def test_inference_keeps_no_graph_and_mixes_each_image_alone():
    x = a_map("cos")
    with torch.no_grad():
        both = aggregate(x, "cos")
        torch.testing.assert_close(aggregate(x[1:], "cos")[0], both[1])
    assert both.grad_fn is None


def test_rows_of_scores_sum_to_one_and_do_not_see_a_vectors_length():
    x, y = a_map("cos").detach(), a_map("cos", size=(3, 4)).detach().flip(0)
    scores = scored_similarity(x, y, "cos")
    assert scores.shape == (2, 30, 12)
    torch.testing.assert_close(scores.sum(2), torch.ones(2, 30).double())
    torch.testing.assert_close(scored_similarity(3 * x, y, "cos"), scores)


def test_a_map_of_one_colour_is_left_as_it_is():
    x = torch.full((1, 4, 3, 3), 0.25)
    for kind in KINDS:
        torch.testing.assert_close(aggregate(x, kind), x)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_alpha_lies_between_nothing_and_all(alpha):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        aggregate(a_map("cos"), "cos", alpha)


def test_one_pixel_has_nothing_to_be_mixed_with():
    with pytest.raises(ConfigError, match="two pixels or more"):
        aggregate(a_map("kl", size=(1, 1)), "kl")
