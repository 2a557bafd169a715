"""What needs a CUDA device: the same numbers as on the CPU, and a run that repeats itself bit for bit.

Not part of the ordinary tests (the name is not collected): `make gpu-check`, or `pytest
tests/gpu/check_cuda.py`. What it found is in `benchmarks/SPEED-cuda.md`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    pytest.exit("gpu-check: torch finds no CUDA device here; everything else is checked by `make test`", returncode=2)

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts, hence before the first operation
torch.backends.cuda.matmul.allow_tf32 = False  # ten bits of mantissa would hide what is compared here
torch.backends.cudnn.allow_tf32 = False
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import udacore_proca  # noqa: E402
from hot_spots import CASES, Place  # noqa: E402
from speed import TOLERANCE, array, difference, distance  # noqa: E402
from udacore_pycda.pyramid_pooling import PyramidHead  # noqa: E402

from udacore.config.resolve import load_config  # noqa: E402
from udacore.engine.files.folder import run_folder  # noqa: E402
from udacore.engine.run import run  # noqa: E402
from udacore.plugins import load_plugin  # noqa: E402
from udacore.testing import fast_checks  # noqa: E402

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LOSSES = [name for name in CASES if CASES[name].__module__ == "hot_spots.losses"]
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
    *("rounds.source.steps=3", "rounds.source.batch=2", "batch=2", "rounds.adapt.steps=3", "rounds.distill.steps=2"),
    *("rounds.distill-2=null", "rounds.distill-3=null", "rounds.distill-4=null", "tensorboard=false", "log_every=1"),
)


@pytest.fixture
def only_deterministic():
    """As `deterministic: true` in a configuration, for one test."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", CASES)
def test_cuda_gives_the_numbers_of_the_cpu(name):
    on_cpu, on_cuda = (CASES[name](Place(device, quick=True)).ours() for device in (CPU, CUDA))
    assert set(on_cpu) == set(on_cuda)
    for key, expected in on_cpu.items():  # an argmax of nearly equal logits may fall either way
        assert distance(array(on_cuda[key]), array(expected), ties=1e-3) <= (1e-3 if key in ("label", "counts") else TOLERANCE), key


@pytest.mark.parametrize("name", CASES)
def test_plain_and_our_form_agree_on_cuda(name):
    assert difference(CASES[name](Place(CUDA, quick=True))) <= TOLERANCE


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradients_repeat_bit_for_bit(name, only_deterministic):
    form = CASES[name](Place(CUDA, quick=True)).ours
    first, second = form(), form()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_loss_does_not_wait_for_the_device():
    for name in LOSSES:
        form = CASES[name](Place(CUDA, quick=True)).ours
        form()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            form()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def run_small(folder):
    words = (*SMALL, f"folder={folder}", "name=run", "device=cuda", "deterministic=true")
    config = load_config("streets", words, packages=("udacore_proca", "udacore"), method_settings=udacore_proca.Settings)
    run(config, load_plugin("proca"))
    return {path.name: torch.load(path, weights_only=True, map_location="cpu")["model"] for path in (run_folder(config) / "checkpoints").glob("[0-9]*.pt")}


def test_a_run_of_all_rounds_repeats_bit_for_bit(tmp_path, only_deterministic):
    first, second = run_small(tmp_path / "first"), run_small(tmp_path / "second")
    assert set(first) == set(second)
    assert len(first) >= 3
    for name, model in first.items():
        for key, value in model.items():
            assert torch.equal(value, second[name][key]), f"{name}: {key}"


def test_pyramid_pooling_learns_where_only_deterministic_forms_are_allowed(only_deterministic):
    head = PyramidHead((8, 16), 5, torch.nn.BatchNorm2d, width=4).to(CUDA)
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        features = torch.randn(2, 16, 13, 17, device=CUDA, requires_grad=True)
        head(features).square().sum().backward()
        gradients.append(features.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("method", ["source-only", "clp", "pycda", "proca", "fada", "bdl"])
def test_the_fast_part_of_the_contract_holds_with_a_device_at_hand(method):
    """Its check of devices is run on CUDA too where there is one."""
    results = list(fast_checks(method))
    assert results
    assert [result for result in results if not result.ok] == []
