"""Whole runs for tests of a method: configure, train, score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from udacore.cli import main
from udacore.config.schema import Config
from udacore.engine.evaluation import Result
from udacore.engine.files.checkpoint import Checkpoints
from udacore.engine.files.folder import run_folder
from udacore.engine.files.run_folder import RunFolder
from udacore.engine.results.scoring import score_checkpoint
from udacore.engine.run import run
from udacore.testing.checks.subject import load_method, load_preset


@attrs.frozen(kw_only=True)
class FinishedRun:
    """A run folder and the scores of its last round."""

    folder: Path
    results: tuple[Result, ...]

    def state(self, checkpoint: str) -> dict[str, Tensor]:
        """The model's state_dict in a checkpoint, such as `0-source` or `last`."""
        return Checkpoints(RunFolder(self.folder).checkpoints).load(checkpoint).model

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        return [json.loads(line) for line in RunFolder(self.folder).metrics.read_text().splitlines()]


def configure(method: Any, preset: str | None = None, changes: Sequence[str] = ()) -> Config:
    """The complete configuration of a method's preset, or of a file, with changes as on the command line.

    method  name of an entry point, path of a .py file, `Method`, or the module that holds the hooks
    preset  default: the method's own for the embedded domains
    Raises ConfigError.
    """
    return load_preset(load_method(method), preset, changes)


def train(method: Any, config: Config, *, resume: bool = False) -> FinishedRun:
    """Carry out a configuration in its run folder, as `uda run` does. Raises what a run raises."""
    results = run(config, load_method(method), resume=resume)
    return FinishedRun(folder=run_folder(config), results=tuple(results))


def score(method: Any, config: Config, checkpoint: Path, *, round: str) -> list[Result]:
    """The scores of a file of weights on the evaluation sets of a round, as `uda eval
    --checkpoint` gives them."""
    return score_checkpoint(config, load_method(method), folder=None, only=round, checkpoint=checkpoint)


def uda(*words: object) -> int:
    """Carry out a command as the program `uda` does, in this process, and return its exit code."""
    return main([str(word) for word in words])
