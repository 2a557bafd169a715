"""What a method says in words becomes lines of the run that it works for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from udacore.engine.tracking import Tracker


def test_a_methods_words_are_lines_of_the_open_run_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voice = logging.getLogger("udacore.some-method")
    tracker = Tracker(tmp_path, tensorboard=False)
    voice.info("cycles stay in their process")
    tracker.close()
    voice.info("nobody listens")
    assert (tmp_path / "log.txt").read_text() == "cycles stay in their process\n"
    assert "nobody" not in capsys.readouterr().err


def test_a_silent_tracker_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(None, tensorboard=False)
    logging.getLogger("udacore.some-method").info("nobody listens")
    tracker.close()
    assert capsys.readouterr().err == ""
