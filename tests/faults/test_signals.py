"""A signal outside of the steps ends a run with a line that says what was saved;
TensorBoard holds each point once."""

from __future__ import annotations

import signal
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from udacore.engine.files.checkpoint import Checkpoints
from udacore.testing.interruption import DeathError, find_differences

CHANGES: dict[str, Any] = {
    "parts": {"critic": {"optimizer": "SGD", "lr": 0.01}},
    "rounds": {
        "a": {"steps": 3, "draws": ["source"], "method": {"pause": 0.2}},
        "b": {"steps": 3, "target": {"labels": "make"}, "source": {"images": "a"}},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "line", "place"),
    [
        pytest.param(
            signal.SIGTERM, "a 3/3  target mIoU", "round 'a', whose last checkpoint is kept", marks=pytest.mark.long
        ),
        (signal.SIGHUP, "a 3/3  target mIoU", "round 'a', whose last checkpoint is kept"),
        pytest.param(signal.SIGINT, "round 'b'", "the end of round 'a', which is saved", marks=pytest.mark.long),
    ],
)
def test_a_signal_outside_of_the_steps_says_what_was_saved(
    number: signal.Signals, line: str, place: str, workshop: Any
) -> None:
    config = workshop.write({**CHANGES, "plugin": str(workshop.method)})
    process = workshop.start(config)
    assert process.stderr is not None
    for text in process.stderr:
        if text.startswith(line):
            while number != signal.SIGINT and not (workshop.path / "run" / "checkpoints" / "0-a-steps.pt").exists():
                time.sleep(0.01)
            process.send_signal(number)  # during the end of the round, which takes seconds
            break
    rest = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 128 + number
    assert rest[-1] in (
        f"error: stopped by {number.name} at {place}; go on with --resume",
        "error: stopped by SIGINT at round 'b', step 1; go on with --resume",  # its first step had begun
    )
    if number == signal.SIGTERM:
        assert workshop.call(config, "--resume").returncode == 0


def points(folder: Path) -> Counter[tuple[str, int]]:
    """How often each point stands in the TensorBoard files of a run."""
    found: Counter[tuple[str, int]] = Counter()
    for path in (folder / "tensorboard").iterdir():
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack("<Q", content[place : place + 8])
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found.update((value.tag, event.step) for value in event.summary.value)
            place += length + 16
    return found


@pytest.mark.parametrize(
    "deaths", [("0-a",), pytest.param(("0-a-steps", "0-a", "1-b-steps", "1-b"), marks=pytest.mark.long)], ids=["one", "all"]
)
def test_a_point_stands_once_after_a_kill_between_an_evaluation_and_its_checkpoint(
    deaths: tuple[str, ...], workshop: Any, make_workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_workshop()
    changes = {**CHANGES, "plugin": str(whole.method), "tensorboard": True, "save_every": 2, "log_every": 1}
    whole.run(changes)
    expected = points(whole.path / "run")
    save = Checkpoints.save
    for name in deaths:

        def save_or_die(self: Checkpoints, label: str, state: Any, last: str = name) -> None:
            if label == last:
                raise DeathError
            save(self, label, state)

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", save_or_die)
            with pytest.raises(DeathError):
                workshop.run(changes, resume=True)
    workshop.run(changes, resume=True)
    assert find_differences(whole.path / "run", workshop.path / "run") == []
    # the second evaluation of a round stands at the step of its first
    assert points(workshop.path / "run") == expected
