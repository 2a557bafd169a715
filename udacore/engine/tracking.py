"""Outputs of a run: metrics.jsonl and log.txt (cut back on resume), TensorBoard, and lines on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from udacore import ranks
from udacore.engine.files.run_folder import LOG, METRICS
from udacore.errors import one_line
from udacore.files import naming

FILES = (METRICS, LOG)
BOARD = "tensorboard/"
"""Begins the names of TensorBoard's files among the lengths that a checkpoint holds."""

LOGGER = logging.getLogger("udacore")
"""What a method has to say in words goes to a child of it, such as
`logging.getLogger("udacore.fada").info(...)`."""


class Tracker:
    """The run's voice; silent on all ranks but the main one.

    metrics.jsonl holds nothing that depends on the clock, so that a resumed run writes the same bytes.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool, written: Mapping[str, int] | None = None) -> None:
        """`folder`: None for nowhere; `written`: bytes of each file to keep, and under `steps` the
        steps of the run to keep."""
        self._main = ranks.is_main() and folder is not None
        self._files: dict[str, Any] = {}
        self._board: Any = None
        self._bar = self._main and sys.stderr.isatty() and "NO_COLOR" not in os.environ
        self._clock = time.monotonic()
        if not self._main or folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            path = folder / name
            with naming(path):
                path.touch()
                os.truncate(path, min(path.stat().st_size, (written or {}).get(name, 0)))
                self._files[name] = path.open("a")
        self._listener = _Listener(self)
        LOGGER.addHandler(self._listener)
        LOGGER.setLevel(logging.INFO)
        if tensorboard:
            try:
                from udacore.engine.files.board import Board
            except ModuleNotFoundError as error:
                self.say(f"tensorboard: nothing is written, since {error.name} is not installed")
                return
            begun = {name.removeprefix(BOARD): size for name, size in (written or {}).items() if name.startswith(BOARD)}
            self._board = Board(folder / "tensorboard", written=begun, purge_step=(written or {}).get("steps", 0) + 1)

    def say(self, text: str) -> None:
        """A line for log.txt and stderr."""
        if not self._main:
            return
        text = "\n".join(one_line(line) for line in text.split("\n"))
        self._append(LOG, text)
        print(("\r\x1b[K" if self._bar else "") + text, file=sys.stderr, flush=True)

    def note(self, row: Mapping[str, Any]) -> None:
        """A row for metrics.jsonl."""
        if self._main:
            self._append(METRICS, json.dumps(_finite(row), allow_nan=False))

    def _append(self, name: str, line: str) -> None:
        """A line to one of the files. OSError, which names it, where the disk is full."""
        with naming(self._files[name].name):
            self._files[name].write(line + "\n")
            self._files[name].flush()

    def board(self, values: Mapping[str, float], total: int) -> None:
        """Scalars for TensorBoard at optimiser step `total` of the whole run."""
        if self._board is not None:
            self._board.add(values, total)

    def report_steps(self, place: Mapping[str, Any], numbers: Mapping[str, float], rates: Mapping[str, float], done: int) -> None:
        """A log line: losses, rates, time a step, time left; `done` steps since the last one."""
        now = time.monotonic()
        seconds, self._clock = (now - self._clock) / max(1, done), now
        if not self._main:
            return
        self.note({"round": place["round"], "step": place["step"], **numbers, **rates})
        extra = {"time/step": seconds}
        if torch.cuda.is_available():
            extra["mem/peak_gb"] = torch.cuda.max_memory_allocated() / 2**30
        self.board({**numbers, **rates, **extra}, place["total"])
        left = int(seconds * (place["steps"] - place["step"]))
        losses = "  ".join(f"{name.removeprefix('loss/')} {value:.4g}" for name, value in numbers.items())
        speed = f"lr {next(iter(rates.values()), 0):.3g}  {1000 * seconds:.0f} ms/step  ETA {left // 60}:{left % 60:02d}"
        line = f"{place['round']} {place['step']}/{place['steps']}  {losses}  {speed}"
        self._append(LOG, line)
        filled = 24 * place["step"] // max(1, place["steps"])
        print(f"\r\x1b[K[{'#' * filled:-<24}] {line}" if self._bar else line, end="" if self._bar else "\n", file=sys.stderr, flush=True)

    def restart_clock(self) -> None:
        """Time since now belongs to the next steps: evaluation was not one of them."""
        self._clock = time.monotonic()

    def written(self) -> dict[str, int]:
        """Bytes of each file so far; they are on the disk."""
        for file in self._files.values():
            with naming(file.name):
                os.fsync(file.fileno())
        board = {} if self._board is None else self._board.written()
        return {**{name: file.tell() for name, file in self._files.items()}, **{BOARD + name: size for name, size in board.items()}}

    def close(self) -> None:
        """Finish all files."""
        if self._main:
            LOGGER.removeHandler(self._listener)
        with contextlib.ExitStack() as closing:  # all of them, whatever a full disk refuses
            for file in self._files.values():
                closing.enter_context(naming(file.name))
                closing.callback(file.close)
        if self._board is not None:
            self._board.close()


class _Listener(logging.Handler):
    """What is logged while a run has its voice becomes lines of that run."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__()
        self.tracker = tracker

    def emit(self, record: logging.LogRecord) -> None:
        """One message, one line."""
        self.tracker.say(record.getMessage())


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
