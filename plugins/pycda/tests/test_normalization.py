from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from udacore_pycda.normalization import CumulativeBatchNorm2d, reset_statistics

from udacore import ConfigError
from udacore.models import make_batch_norm

SUMS = ("_tmp_running_mean", "_tmp_running_var", "_running_iter")


def picture(*size, seed=0, dtype=torch.float64):
    return torch.randn(*size, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def layer(channels=3, **how):
    """A layer with an affine map of its own, in double precision."""
    norm = CumulativeBatchNorm2d(channels, **how).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
    return norm


def test_the_gradient_is_that_of_the_formula_where_the_variance_is_clamped_too():
    x = picture(2, 3, 4, 5)
    x[:, 1] *= 1e-4  # variance 1e-8, below eps
    norm, plain = layer(), x.clone().requires_grad_()
    mean = plain.mean((0, 2, 3), keepdim=True)
    variance = ((plain - mean) ** 2).mean((0, 2, 3), keepdim=True)
    want = norm.weight[:, None, None] * (plain - mean) * variance.clamp(min=1e-5) ** -0.5 + norm.bias[:, None, None]
    factor = picture(2, 3, 4, 5, seed=1)
    expected = torch.autograd.grad((want**2 * factor).sum(), [plain, norm.weight, norm.bias])
    ours = x.clone().requires_grad_()
    got = norm(ours)
    torch.testing.assert_close(got, want)
    found = torch.autograd.grad((got**2 * factor).sum(), [ours, norm.weight, norm.bias])
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right)


def test_stored_statistics_are_a_plain_mean_after_a_reset_and_a_weighted_one_in_the_end():
    batches = [picture(2, 3, 4, 5, seed=seed) + seed for seed in range(4)]
    norm = layer(decay=1.0)
    norm.reset_statistics()
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.var((0, 2, 3)) for batch in batches])
    for batch in batches:
        norm(batch)
    torch.testing.assert_close(norm.running_mean, means.mean(0))
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm._running_iter.tolist() == [4]
    weighted = layer(decay=0.5)
    weighted.reset_statistics()
    for batch in batches:
        weighted(batch)
    weights = torch.tensor([1, 2, 4, 8], dtype=torch.float64)[:, None]
    torch.testing.assert_close(weighted.running_mean, (means * weights).sum(0) / 15)


def test_a_reset_layer_still_evaluates_with_what_it_had():
    norm, image = layer(), picture(2, 3, 4, 5)
    norm(image)
    before = norm.eval()(image)
    norm.reset_statistics()
    assert torch.equal(norm(image), before)
    assert [norm.get_buffer(name).abs().max().item() for name in SUMS] == [0, 0, 0]


def test_a_torch_that_refuses_an_epsilon_of_0_trains_all_the_same(monkeypatch):
    """`F.batch_norm` of torch 2.10 and 2.11 does, in evaluation mode too."""
    expected = layer()(picture(2, 3, 4, 5))

    def strict(*arguments):
        assert arguments[-1] > 0
        return torch.batch_norm(*arguments)

    monkeypatch.setattr(F, "batch_norm", strict)
    torch.testing.assert_close(layer()(picture(2, 3, 4, 5)), expected, rtol=0, atol=0)


def test_evaluation_adds_eps_and_moves_nothing():
    norm, image = layer(), picture(2, 3, 4, 5)
    norm(image)
    state = {key: value.clone() for key, value in norm.state_dict().items()}
    want = F.batch_norm(image, state["running_mean"], state["running_var"], norm.weight, norm.bias, eps=1e-5)
    torch.testing.assert_close(norm.eval()(image), want)
    assert all(torch.equal(value, state[key]) for key, value in norm.state_dict().items())


def test_weights_without_sums_start_them_anew_and_those_with_sums_keep_them():
    plain, ours = nn.BatchNorm2d(3), CumulativeBatchNorm2d(3)
    plain(picture(2, 3, 4, 5, dtype=torch.float32))
    ours(picture(2, 3, 4, 5, dtype=torch.float32))
    ours.load_state_dict(plain.state_dict())
    assert torch.equal(ours.running_mean, plain.running_mean)
    assert [ours.get_buffer(name).tolist() for name in SUMS] == [[0, 0, 0], [1, 1, 1], [1]]
    ours(picture(2, 3, 4, 5, dtype=torch.float32))
    other = CumulativeBatchNorm2d(3)
    other.load_state_dict({key: value for key, value in ours.state_dict().items() if key != "num_batches_tracked"})
    for name in SUMS:
        assert torch.equal(other.get_buffer(name), ours.get_buffer(name))


def test_the_fused_form_differs_by_eps_alone():
    image = picture(4, 3, 8, 8)
    image[:, 1] *= 0.1
    plain, fused = layer(), layer(fused=True)
    variance = image.var((0, 2, 3), correction=0)
    difference = (plain(image) - plain.bias[:, None, None]) / (fused(image) - fused.bias[:, None, None])
    torch.testing.assert_close(difference.mean((0, 2, 3)), (1 + 1e-5 / variance).sqrt())
    for name in ("running_mean", "running_var", *SUMS):
        torch.testing.assert_close(fused.get_buffer(name), plain.get_buffer(name))


def test_half_precision_stays_and_statistics_are_float32():
    norm = CumulativeBatchNorm2d(3)
    image = picture(2, 3, 4, 5).bfloat16().requires_grad_()
    result = norm(image)
    result.float().square().sum().backward()
    assert (result.dtype, image.grad.dtype, norm.weight.grad.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    torch.testing.assert_close(norm._tmp_running_mean, image.detach().float().mean((0, 2, 3)))


def test_one_value_to_a_channel_is_refused_in_training_alone():
    norm = layer()
    with pytest.raises(ConfigError, match="at least 2 images"):
        norm(picture(1, 3, 1, 1))
    assert norm.eval()(picture(1, 3, 1, 1)).shape == (1, 3, 1, 1)


def test_backward_keeps_the_input_alone():
    norm, image = CumulativeBatchNorm2d(4), picture(2, 4, 32, 32, dtype=torch.float32).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        norm(image)
    large = [tensor for tensor in kept if tensor.numel() >= image.numel()]
    assert [tensor.data_ptr() for tensor in large] == [image.data_ptr()]


def test_all_layers_of_a_model_are_reset_and_a_model_without_any_is_refused():
    model = nn.Sequential(CumulativeBatchNorm2d(3), nn.Conv2d(3, 3, 1), make_batch_norm("train")(3))
    model(picture(2, 3, 4, 5, dtype=torch.float32))
    assert reset_statistics(model) == 2
    assert model[0]._running_iter.item() == 0
    assert model[2].running_mean.tolist() == [0, 0, 0]
    for empty in (nn.Conv2d(3, 3, 1), make_batch_norm("frozen")(3)):
        with pytest.raises(ConfigError, match="no batch norm that stores statistics"):
            reset_statistics(nn.Sequential(empty))


RANK = """
import sys, torch
import torch.distributed as dist
from udacore.testing.processes import part
from udacore_pycda.normalization import CumulativeBatchNorm2d
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
data = torch.load(f"{folder}/in.pt", weights_only=True)
share = slice(0, 1) if rank == 0 else slice(1, 4)
found = {}
for fused in (False, True):
    norm = CumulativeBatchNorm2d(3, fused=fused).double()
    norm.load_state_dict(data["state"])
    x = data["image"][share].clone().requires_grad_()
    for _ in range(2):
        result = norm(x)
    ((result ** 2) * data["factor"][share]).sum().backward()
    gradients = {name: p.grad for name, p in norm.named_parameters()}
    found[str(fused)] = {"result": result.detach(), "x": x.grad, "gradients": gradients, "state": norm.state_dict()}
torch.save(found, f"{folder}/{rank}.pt")
part()
"""


def test_two_processes_equal_one_with_the_joint_batch(tmp_path):
    # far from zero, where E[x^2] - m^2 would cancel; a channel whose variance is clamped;
    # shares of one and three images
    image = picture(4, 3, 5, 7) + 1000
    image[:, 2] = 1000 + 1e-4 * picture(4, 5, 7, seed=2)
    factor, state = picture(4, 3, 5, 7, seed=1), layer().state_dict()
    torch.save({"image": image, "factor": factor, "state": state}, tmp_path / "in.pt")
    processes = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    close = partial(torch.testing.assert_close, rtol=1e-8, atol=1e-8)
    for fused in (False, True):
        norm = layer(fused=fused)
        x = image.clone().requires_grad_()
        for _ in range(2):
            result = norm(x)
        (result**2 * factor).sum().backward()
        a, b = first[str(fused)], second[str(fused)]
        close(torch.cat([a["result"], b["result"]]), result.detach())
        close(torch.cat([a["x"], b["x"]]), x.grad)
        for name, parameter in norm.named_parameters():
            close(a["gradients"][name] + b["gradients"][name], parameter.grad)
        for name, value in norm.state_dict().items():
            assert torch.equal(a["state"][name], b["state"][name])
            close(a["state"][name], value)
