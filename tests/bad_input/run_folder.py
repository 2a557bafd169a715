"""The folder of a small run that died in its second round, and what changes its checkpoints."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import pytest
import torch

from udacore.cli import main
from udacore.config.resolve import load_config
from udacore.engine.files.checkpoint import RunState, parse_checkpoint
from udacore.engine.results.scoring import open_session
from udacore.engine.training import RoundInProgress, set_up
from udacore.methods.discovery import load_plugin
from udacore.testing.interruption import DeathError, dying_in

RUN = (
    "run mine.yaml plugin=./tiny.py device=cpu threads=1 workers=0 tensorboard=false batch=1 source.count=2"
    " source.image_size=[64,32] evaluate.target.count=1 evaluate.target.image_size=[64,32]"
    " evaluate.source=null model.name=small initial=random"
    " rounds.source.steps=1 save_every=1 log_every=1 name=bad folder=runs"
)
TINY = """
import torch
from udacore import hookimpl
from udacore.models import Layout, build_segmenter

LAYOUTS = (Layout(name="tiny", parts={"net": {"": ""}}, ignore=("iteration",)),)


@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.register_buffer("bank", torch.ones(2, 3))
    return model
"""
PICTURE = "picture.png"
STATES = Path("runs/bad/checkpoints")
WEIGHT = "classifier.conv2d_list.0.weight"
MEAN = "backbone.bn1.running_mean"

RESUME = f"{RUN} --resume"
LOG = ("runs/bad/log.txt", "runs/bad/metrics.jsonl")
"""Files that a resumed run has begun to write to when it meets what only the round can tell."""

Change = Callable[[dict[Any, Any]], object]


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died in its second round, after a checkpoint there; and an image."""
    folder = tmp_path_factory.mktemp("killed")
    with contextlib.chdir(folder):
        Path("tiny.py").write_text(TINY)
        Path("mine.yaml").write_text("extends: streets\nrounds: {more: {steps: 3, draws: [source]}}\n")
        with dying_in("more", step=2), pytest.raises(DeathError):
            main(RUN.split())
        cv2.imwrite(PICTURE, np.full((32, 64, 3), 90, np.uint8))
    return folder


@pytest.fixture
def run(killed: Path, folder: Path) -> Path:
    shutil.copytree(killed, folder, dirs_exist_ok=True)
    return folder


def put(*place: Any) -> Change:
    """Put the last argument where the others lead to."""
    *way, key, value = place

    def change(content: Any) -> None:
        for word in way:
            content = content[word]
        content[key] = value(content[key]) if callable(value) else value

    return change


def drop(*place: Any) -> Change:
    *way, key = place

    def change(content: Any) -> None:
        for word in way:
            content = content[word]
        del content[key]

    return change


def mutate(path: Path, change: Change) -> None:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.fixture(scope="session")
def saved(killed: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(killed / STATES / "last.pt", weights_only=True)
    return content


@pytest.fixture(scope="session")
def work(killed: Path) -> Iterator[RoundInProgress]:
    """The round that was under way, built anew."""
    with contextlib.chdir(killed):
        method = load_plugin("./tiny.py")
        config = load_config("mine.yaml", RUN.split()[2:], method_settings=method.settings)
        with open_session(config, method, killed / "runs" / "bad") as session:
            yield set_up(session.rounds["more"])


@attrs.frozen
class InMemory:
    """A checkpoint that was not written first: the table below would take minutes."""

    content: dict[str, Any]
    folder: Path = STATES

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"

    def load(self, name: str) -> RunState:
        return parse_checkpoint(self.content, self.path(name))
