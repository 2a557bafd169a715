"""TensorBoard files, written at once and without a thread, so that a full disk is an error and not a hang."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class Board:
    """Scalars of one run in a file of its own; files of one folder are shown as one run."""

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        """`purge_step`: what earlier files of the folder hold from this step on is hidden; it is trained again."""
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}")  # two starts within a second must not share a file
        self._write(Event(session_log=SessionLog(status=SessionLog.START)), purge_step)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """One point for each curve."""
        for name, value in values.items():
            self._write(Event(summary=scalar(name, value)), step)

    def _write(self, event: Event, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._writer.write_event(event)

    def flush(self) -> None:
        """To the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
