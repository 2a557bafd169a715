"""TensorBoard files, written without a thread, so that a full disk is an error and not a hang."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from udacore.files import naming


class Board:
    """Scalars of one run in a file of its own; files of one folder are shown as one run."""

    def __init__(self, folder: Path, *, written: Mapping[str, int], purge_step: int) -> None:
        """Begin a file, after earlier ones were cut back to where the run goes on.

        written     bytes of each file, by its name, that belong to the checkpoint; what
                    follows is recorded again
        purge_step  for files of version 0.1, of which no lengths are known: what they
                    hold from this step on is hidden
        """
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._kept = {name: size for name, size in written.items() if (folder / name).is_file()}
        if written:
            for path in folder.glob("events.out.tfevents.*"):
                if path.name in written:
                    os.truncate(path, min(path.stat().st_size, written[path.name]))
                else:  # begun after the checkpoint
                    path.unlink()
        before = set(folder.iterdir())
        with naming(folder):
            self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}.{time.time_ns()}")  # no two starts share a file
        (self._path,) = set(folder.iterdir()) - before
        self._write(Event(session_log=SessionLog(status=SessionLog.START)), purge_step)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """One point for each curve."""
        for name, value in values.items():
            self._write(Event(summary=scalar(name, value)), step)

    def _write(self, event: Event, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        with naming(self._path):
            self._writer.write_event(event)

    def written(self) -> dict[str, int]:
        """Bytes of this file and of the earlier ones, by name; they are on the disk."""
        with naming(self._path):
            self._writer.flush()
        return {**self._kept, self._path.name: self._path.stat().st_size}

    def close(self) -> None:
        """Finish the file."""
        with naming(self._path):
            self._writer.close()
