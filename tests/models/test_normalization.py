import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from udacore.errors import ConfigError
from udacore.models import DomainBatchNorm2d, FrozenBatchNorm2d, make_batch_norm, use_domain

MODES = ("train", "eval", "frozen", "frozen-no-epsilon", "live", "domain")


def filled(norm: nn.Module, channels: int = 3) -> dict[str, torch.Tensor]:
    """Fills a layer with numbers that show, and returns them."""
    generator = torch.Generator().manual_seed(1)
    state = {key: torch.rand(channels, generator=generator) + 0.5 for key in ("weight", "bias", "running_mean", "running_var")}
    state["num_batches_tracked"] = torch.tensor(7)
    norm.load_state_dict(state)
    return state


def picture(channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 + 1


def stored(x: torch.Tensor, state: dict[str, torch.Tensor], eps: float) -> torch.Tensor:
    return F.batch_norm(x.double(), *(state[key].double() for key in ("running_mean", "running_var", "weight", "bias")), eps=eps)


@pytest.mark.parametrize(("mode", "eps"), [("frozen", 1e-5), ("frozen-no-epsilon", 0.0)])
def test_frozen_is_one_affine_map_without_parameters(mode: str, eps: float) -> None:
    norm = make_batch_norm(mode)(3)
    state = filled(norm)
    state["running_var"][0] = norm.state_dict()["running_var"][0] = 1e-4
    assert list(norm.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    assert not list(norm.parameters())
    scale = (state["weight"] * (state["running_var"] + eps) ** -0.5)[:, None, None]
    want = picture() * scale + (state["bias"][:, None, None] - state["running_mean"][:, None, None] * scale)
    for training in (True, False):
        torch.testing.assert_close(norm.train(training)(picture()), want)


def test_frozen_keeps_half_precision_and_passes_gradients() -> None:
    norm = FrozenBatchNorm2d(3)
    state = filled(norm)
    x = picture().requires_grad_()
    norm(x).sum().backward()
    torch.testing.assert_close(x.grad[0, :, 0, 0], state["weight"] * (state["running_var"] + 1e-5) ** -0.5)
    assert norm(picture().bfloat16()).dtype == torch.bfloat16


def test_train_is_torch_batch_norm_in_one_process() -> None:
    ours, theirs = make_batch_norm("train")(3), nn.BatchNorm2d(3)
    filled(ours)
    filled(theirs)
    x, y = picture().requires_grad_(), picture().requires_grad_()
    for layer, image in ((ours, x), (theirs, y)):
        (layer(image) ** 3).sum().backward()
    assert torch.equal(x.grad, y.grad)
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


@pytest.mark.parametrize("mode", ["train", "live", "domain"])
def test_one_value_a_channel_cannot_be_normalised_by_itself(mode: str) -> None:
    norm = make_batch_norm(mode)(3)
    with pytest.raises(ConfigError, match=r"one image whose map is 1 x 1; take larger crops"):
        norm(torch.ones(1, 3, 1, 1))
    assert norm(torch.ones(2, 3, 1, 1)).shape == (2, 3, 1, 1)
    assert norm.eval()(torch.ones(1, 3, 1, 1)).shape == (1, 3, 1, 1)


def test_eval_uses_and_keeps_stored_statistics_and_trains_the_affine_map() -> None:
    norm = make_batch_norm("eval")(3).train()
    state = filled(norm)
    result = norm(picture())
    result.sum().backward()
    torch.testing.assert_close(result.double(), stored(picture(), state, 1e-5), rtol=1e-5, atol=1e-5)
    assert torch.equal(norm.state_dict()["running_mean"], state["running_mean"])
    assert all(parameter.grad is not None for parameter in norm.parameters())


def test_live_moves_statistics_and_has_nothing_to_train() -> None:
    live, plain = make_batch_norm("live")(3), nn.BatchNorm2d(3)
    filled(live)
    filled(plain)
    assert not list(live.parameters())
    assert set(live.state_dict()) == set(plain.state_dict())
    assert torch.equal(live(picture()), plain(picture()))
    assert torch.equal(live.running_var, plain.running_var)
    assert torch.equal(live.eval()(picture()), plain.eval()(picture()))


def test_domains_have_layers_of_their_own_chosen_within_a_block() -> None:
    model = nn.Sequential(make_batch_norm("domain")(3))
    norm = model[0]
    assert isinstance(norm, DomainBatchNorm2d)
    state = filled(norm)
    for layer in norm.norm_layers:
        assert torch.equal(layer.weight, state["weight"])
    with use_domain(model, "target"):
        model(picture())
        with use_domain(model, "source"):
            assert norm.current == "source"
        assert norm.current == "target"
    assert norm.current == "source"
    assert torch.equal(norm.norm_layers[0].running_mean, state["running_mean"])
    assert not torch.equal(norm.norm_layers[1].running_mean, state["running_mean"])


def test_a_domain_block_ends_with_an_error_too() -> None:
    model = nn.Sequential(DomainBatchNorm2d(3))
    with pytest.raises(RuntimeError), use_domain(model, "target"):
        model(torch.rand(2, 4, 5, 5))
    assert model[0].current == "source"
    with pytest.raises(ValueError, match="did you mean 'target'"), use_domain(model, "targets"):
        pass


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_takes_the_weights_of_plain_layers(mode: str) -> None:
    norm = make_batch_norm(mode)(3).eval()
    state = filled(norm)
    eps = 0.0 if mode == "frozen-no-epsilon" else 1e-5
    torch.testing.assert_close(norm(picture()).double(), stored(picture(), state, eps), rtol=1e-5, atol=1e-5)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.batch_norm: 'freezed'; did you mean 'frozen'"):
        make_batch_norm("freezed")


RANK = """
import sys, torch
import torch.distributed as dist
from udacore.testing.processes import part
from udacore.models import make_batch_norm
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
data = torch.load(f"{folder}/in.pt", weights_only=True)
share = slice(0, 1) if rank == 0 else slice(1, 4)
found = {}
for mode in ("train", "live"):
    norm = make_batch_norm(mode)(3).double()
    norm.load_state_dict(data["state"])
    x = data["image"][share].clone().requires_grad_()
    for _ in range(2):
        result = norm(x)
    ((result ** 2) * data["factor"][share]).sum().backward()
    gradients = {name: p.grad for name, p in norm.named_parameters()}
    found[mode] = {"result": result.detach(), "x": x.grad, "gradients": gradients, "state": norm.state_dict()}
torch.save(found, f"{folder}/{rank}.pt")
part()
"""


def run_two_ranks(folder: Path, state: dict[str, torch.Tensor], image: torch.Tensor, factor: torch.Tensor) -> list[dict[str, Any]]:
    torch.save({"image": image, "factor": factor, "state": state}, folder / "in.pt")
    ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(folder)]) for rank in range(2)]
    assert [process.wait(timeout=240) for process in ranks] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_equal_one_with_the_joint_batch(tmp_path: Path) -> None:
    # far from zero, where E[x^2] - m^2 would cancel, and shares of one and three images
    image = torch.randn(4, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1000
    factor = torch.rand(4, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    state = filled(make_batch_norm("train")(3))
    both = run_two_ranks(tmp_path, state, image, factor)
    close = {"rtol": 1e-9, "atol": 1e-9}
    for mode in ("train", "live"):
        norm = make_batch_norm(mode)(3).double()
        norm.load_state_dict(state)
        joint = image.clone().requires_grad_()
        for _ in range(2):
            result = norm(joint)
        ((result**2) * factor).sum().backward()
        first, second = (found[mode] for found in both)
        torch.testing.assert_close(torch.cat([first["result"], second["result"]]), result.detach(), **close)
        torch.testing.assert_close(torch.cat([first["x"], second["x"]]), joint.grad, **close)
        for name, parameter in norm.named_parameters():
            torch.testing.assert_close(first["gradients"][name] + second["gradients"][name], parameter.grad, **close)
        for name, value in norm.state_dict().items():
            assert torch.equal(first["state"][name], second["state"][name])
            torch.testing.assert_close(first["state"][name], value, **close)
