"""A method as a stranger would write it: one file, then a distribution that pip built and installed.
The core knows of neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from udacore.cli import main

ENTROPY = '''"""Entropy minimisation: ask the network to be certain on target images."""
import attrs
import torch.nn.functional as F
from udacore import MethodSettings, hookimpl, option

@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.001, "weight of the entropy term")

@hookimpl
def target_loss(step):
    log_probability = F.log_softmax(step.model(step.target.image).logits, dim=1)
    entropy = -(log_probability.exp() * log_probability).sum(dim=1)
    return step.settings.weight * entropy.mean()
'''

DISCRIMINATOR = '''"""Adversarial alignment: a discriminator tells the domains apart by their outputs, the network deceives it."""
import attrs
import torch
import torch.nn.functional as F
from torch import nn
from udacore import MethodSettings, hookimpl, option
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter

@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.01, "weight of the deceit")

def judge(model, logits, truth):
    verdict = model.discriminator(logits.softmax(dim=1))
    return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, truth))

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    layers = nn.Conv2d(len(round.classes), 16, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 1)
    model.discriminator = nn.Sequential(*layers)
    return model

@hookimpl
def source_loss(step):
    logits = step.model(step.source.image).logits
    label = segmentation_loss(logits, step.source.label, step.model.align_corners)
    return {"label": label, "discriminator/source": judge(step.model, logits, 1.0)}

@hookimpl
def target_loss(step):
    logits = step.model(step.target.image).logits
    deceit = step.settings.weight * judge(step.model, logits, 1.0)
    return {"deceit": deceit, "discriminator/target": judge(step.model, logits, 0.0)}
'''

PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "udacore-entropy"
version = "0.3"
description = "Entropy minimisation"
dependencies = ["udacore"]

[project.entry-points."udacore.plugins"]
entropy = "udacore_entropy"

[tool.setuptools]
py-modules = ["udacore_entropy"]
"""

TINY = (
    *(f"{entry}.{key}" for entry in ("source", "target", "evaluate.target", "evaluate.source") for key in ("count=8", "image_size=[64,32]")),
    "rounds.source.steps=2", "rounds.adapt.steps=3", "rounds.adapt.batch=2", "device=cpu", "workers=0", "tensorboard=false",
)  # fmt: skip
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    return folder


def losses(run: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[f"loss/{name}"] for row in rows if f"loss/{name}" in row]


def model(run: Path, name: str = "1-adapt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)["model"]
    return state


def is_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], part: str = "") -> bool:
    return all(torch.equal(other[key], value) for key, value in one.items() if key.startswith(part))


def test_a_method_is_one_file_of_fourteen_lines(here: Path, capsys: Capture) -> None:
    assert len([line for line in ENTROPY.splitlines() if line]) == 12
    assert len(ENTROPY.splitlines()) == 14
    Path("my_method.py").write_text(ENTROPY)
    assert main(["run", "--plugin", "./my_method.py", *TINY]) == 0
    assert "adapt on target" in capsys.readouterr().out
    run = here / "runs" / "my_method-streets-adapt"
    (entropy,) = losses(run, "target")
    assert 0 < entropy < 0.001 * torch.log(torch.tensor(12.0)) * 1.001
    assert len(losses(run, "source")) == 2  # the core's own cross-entropy, in both rounds
    assert main(["run", "--plugin", "./my_method.py", *TINY, "method.weight=1", "name=heavy"]) == 0
    assert losses(here / "runs" / "heavy", "target")[0] > 500 * entropy
    assert is_equal(model(run, "0-source"), model(here / "runs" / "heavy", "0-source"))
    assert not is_equal(model(run), model(here / "runs" / "heavy"))
    assert sorted(path.name for path in here.iterdir()) == ["my_method.py", "runs"]


@pytest.mark.long
@pytest.mark.slow
def test_the_same_method_as_an_installed_distribution(tmp_path: Path, here: Path) -> None:
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "udacore_entropy.py").write_text(ENTROPY)
    (project / "pyproject.toml").write_text(PROJECT)
    quiet = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    python(here, "-m", "pip", "wheel", "--no-build-isolation", *quiet, "--wheel-dir", str(tmp_path), str(project))
    python(here, "-m", "pip", "install", *quiet, "--target", str(site), str(tmp_path / "udacore_entropy-0.3-py3-none-any.whl"))

    listed = json.loads(python(here, "-m", "udacore", "plugins", "list", "--check", "--json", path=site))
    mine = [plugin for plugin in listed if plugin["name"] == "entropy"]
    metadata = {"distribution": "udacore-entropy", "version": "0.3", "module": "udacore_entropy", "cores": "", "duplicate": False}
    read = {"api": None, "hooks": ["target_loss"], "origin": str(site / "udacore_entropy.py"), "state": "ok"}
    assert mine == [{"name": "entropy", **metadata, **read}]
    assert {"source-only", "proca"} <= {plugin["name"] for plugin in listed}

    shown = python(here, "-m", "udacore", "run", "--plugin", "entropy", *TINY, path=site)
    assert "adapt on target" in shown
    run = here / "runs" / "entropy-streets-adapt"
    assert json.loads((run / "env.json").read_text())["plugin"]["version"] == "0.3"
    (here / "entropy.py").write_text(ENTROPY)
    python(here, "-m", "udacore", "run", "--plugin", "./entropy.py", *TINY, "name=file")
    assert is_equal(model(run), model(here / "runs" / "file"))


def python(folder: Path, *words: str, path: Path | None = None) -> str:
    """What a Python process prints, `path` among its packages."""
    environment = os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_discriminator_is_a_part_with_an_optimiser_of_its_own(here: Path) -> None:
    Path("adversary.py").write_text(DISCRIMINATOR)
    parts = ["parts.discriminator={optimizer: Adam, lr: 1e-3, options: {betas: [0.9, 0.99]}}", "parts.segmenter.optimizer=SGD"]
    words = ["run", "--plugin", "adversary.py", *TINY, *parts, "parts.segmenter.options={momentum: 0.9}", "log_every=1", "save_every=1"]

    def carry_out(name: str, *changes: str) -> Any:
        assert main([*words, f"name={name}", *changes]) == 0
        return model(here / "runs" / name)

    trained = carry_out("deceived")
    optimizers = torch.load(here / "runs" / "deceived" / "checkpoints" / "last.pt", weights_only=True)["optimizers"]
    assert set(optimizers) == {"segmenter", "discriminator"}
    assert set(optimizers["discriminator"]["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert set(optimizers["segmenter"]["state"][0]) == {"momentum_buffer"}
    judged = [losses(here / "runs" / "deceived", f"discriminator/{domain}") for domain in ("source", "target")]
    assert all(loss > 0 for domain in judged for loss in domain)

    unmoved = carry_out("judge-at-rest", "parts.discriminator.lr=0")
    assert not is_equal(trained, unmoved, "discriminator.")
    assert not is_equal(trained, unmoved, "backbone.")
    # without the deceit nothing of the discriminator reaches the segmenter, though its losses run through it
    truthful, blind = carry_out("truthful", "method.weight=0"), carry_out("blind", "method.weight=0", "parts.discriminator.lr=0")
    assert is_equal(truthful, blind, "backbone.")
    assert is_equal(truthful, blind, "classifier.")
    assert not is_equal(truthful, blind, "discriminator.")
    assert not is_equal(unmoved, blind, "backbone.")
