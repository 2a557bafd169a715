"""Tiny runs: configurations of a few steps on 64 x 32 images, here in this process or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from forked import Forked, Limit, Ranks

from udacore.config.resolve import load_config
from udacore.engine import run as engine
from udacore.engine.evaluation import Result
from udacore.methods.discovery import load_plugin

PICTURES = {"dataset": "streets", "image_size": [64, 32]}
TINY: dict[str, Any] = {
    "seed": 3, "device": "cpu", "workers": 0, "log_every": 4, "save_every": 3, "tensorboard": False, "label_space": "streets",
    "model": {"name": "small"}, "initial": "random", "batch": 4,
    "source": {**PICTURES, "count": 10, "transform": {"flip": {}, "streets_jitter": {}}}, "target": {**PICTURES, "count": 9, "transform": {"flip": {}}},
    "parts": {"segmenter": {"optimizer": "AdamW", "lr": 1e-3, "schedule": {"name": "poly", "warmup": 2}}},
    "evaluate": {"target": {**PICTURES, "count": 5, "batch": 2}},
    "rounds": {"source": {"steps": 5, "draws": ["source"]}},
}  # fmt: skip
"""A round of five steps; each test changes what it needs."""

METHOD = '''
import time
import attrs
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from udacore import MethodSettings, hookimpl, option, ranks
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter
from udacore.pseudo_labels import make_thresholded_labels


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    pause: float = option(0.0, "seconds to wait at each image of a round's end")


@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.critic = nn.Sequential(nn.Conv2d(len(round.classes), 8, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 1))
    model.register_buffer("seen", torch.zeros((), dtype=torch.int64))
    model.register_buffer("mean", torch.zeros(3))
    model.register_buffer("bank", torch.zeros(0, 3))
    return model


@hookimpl
def source_loss(step):
    model = step.model
    logits = model(step.source.image).logits
    model.seen += ranks.all_sum(torch.tensor(len(logits)))
    colour = ranks.all_sum(step.source.image.mean((0, 2, 3))) / ranks.size()
    model.mean.lerp_(colour, 0.1)
    model.bank = torch.cat([model.bank, colour[None]])[-7:]
    step.kept["critic"] = real = model.critic(F.dropout2d(logits, 0.2).softmax(1))
    return {
        "source": segmentation_loss(F.dropout(logits, 0.1), step.source.label, model.align_corners),
        "critic/source": F.softplus(-real).mean(),
    }


@hookimpl
def target_loss(step):
    step.record("noise", np.random.rand() + torch.rand(()).item())
    logits = step.model(step.target.image).logits
    fake = step.model.critic(F.dropout2d(logits, 0.2).softmax(1))
    losses = {"adversarial": 0.1 * F.softplus(-fake).mean(), "critic/target": F.softplus(fake).mean()}
    if step.target.pseudo_label is not None:
        losses["pseudo_label"] = segmentation_loss(logits, step.target.pseudo_label, step.model.align_corners)
    return losses


@hookimpl
def on_round_end(round):
    means = torch.zeros(3)
    for batch in round.source():
        time.sleep(round.settings.pause)
        means += batch.image.mean((0, 2, 3))
        grey = (torch.rand(40, 80, 3) * 255).to(torch.uint8).numpy()  # of another size than the image
        grey[..., 0] = 128 + 20 * batch.image[0, 0].mean().item()
        round.write_image(batch.name[0], grey)
    round.model.mean.copy_(ranks.all_sum(means) + (torch.rand(3) if ranks.size() == 1 else 0))
    return {"red": round.model.mean[0]}


@hookimpl
def make_pseudo_labels(round):
    for name, label in make_thresholded_labels(round, percent=0.3):
        time.sleep(round.settings.pause)
        label[torch.randint(0, len(label), (1,)).item()] = 255
        yield name, label
'''
"""A method with everything that must survive: dropout, buffers that grow, a second part, draws at a
round's end, both overlays."""


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings laid over one another, except `rounds` and `transform`, which replace."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict) and key not in ("rounds", "transform")
        result[key] = merge(result[key], value) if both else value
    return result


class Workshop:
    """A folder with a configuration, a method and the runs made of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.method = path / "strange.py"
        self.method.write_text(METHOD)

    def write(self, changes: dict[str, Any], name: str = "run") -> Path:
        """A configuration file: the tiny one with changes; its run folder is `<path>/<name>`."""
        path = self.path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(merge({**TINY, "plugin": "source-only", "name": name, "folder": str(self.path)}, changes), sort_keys=False))
        return path

    def write_method(self, text: str) -> Path:
        """Another method; returns its file."""
        path = self.path / f"method{len(list(self.path.glob('method*.py')))}.py"
        path.write_text(text)
        return path

    def run(self, changes: dict[str, Any], *words: str, name: str = "run", **choices: Any) -> list[Result]:
        """Carry a configuration out in this process; `choices` are those of `udacore.engine.run.run`."""
        plugin = str(changes.get("plugin", "source-only"))
        method = load_plugin(plugin)
        config = load_config(str(self.write(changes, name)), words, packages=(), method_settings=method.settings)
        return engine.run(config, method, **choices)

    def start(self, config: Path, *words: str, processes: int = 1, limit: Limit | None = None) -> Forked | Ranks:
        """`python -m udacore run CONFIG WORDS` in a process of its own, or in one for each rank."""
        command, environment = ["run", str(config), *words], {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        if processes > 1:
            return Ranks(command, self.path, environment, processes)
        return Forked(command, self.path, environment, limit)

    def call(self, config: Path, *words: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        process = self.start(config, *words, processes=processes)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            self.kill(process)
        assert process.returncode is not None
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def torchrun(self, config: Path, processes: int) -> subprocess.CompletedProcess[str]:
        """The same under torchrun."""
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
        command = [sys.executable, *launcher, "-m", "udacore", "run", str(config)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        return subprocess.run(command, cwd=self.path, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def kill(self, process: Forked | Ranks) -> None:
        """SIGKILL, if it is still at work."""
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture(scope="session")
def make_workshop(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workshop]:
    """For fixtures that several tests share."""
    return lambda: Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Small tensors; and the sums of another number of threads are others. For the
    session: its fixtures run too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
