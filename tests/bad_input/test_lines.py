"""A message is one line of at most 400 characters, whatever was given; what is left out is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from udacore.cli import main
from udacore.errors import LONGEST_LINE, list_names, one_line

Refused = Callable[..., str]
LONG = "x" * 5000
ODD = "a\x1b[31mred\x07\u2028\ud800"


@pytest.mark.parametrize(
    "words",
    [
        [LONG],
        ["run", LONG],
        ["run", f"{LONG}.yaml"],
        ["run", "streets", f"{LONG}=1"],
        ["run", "streets", f"rounds.{LONG}.steps=1"],
        ["run", "streets", f"batch={LONG}"],
        ["run", "streets", f"label_space={LONG}", "name=bad"],
        ["run", "streets", f"model.name={LONG}"],
        ["run", "streets", f"parts.segmenter.optimizer={LONG}", "name=bad"],
        ["run", "streets", "batch={" + ", ".join(f"key{number}: 1" for number in range(900)) + "}"],
        ["run", "streets", LONG, ODD],
        ["run", "streets", f"batch={ODD[:8]}"],
        ["run", "streets", "--round", LONG, "name=bad"],
        ["run", "streets", f"--{LONG}"],
        ["eval", LONG],
        ["config", "streets", f"batch={ODD}"],
        ["config", ODD],
    ],
    ids=range(17),
)  # fmt: skip
def test_a_message_is_a_line(refused: Refused, words: list[str]) -> None:
    message = refused(words, 2, writes=["runs*"])
    assert len(message.splitlines()) == 1
    assert "\x1b" not in message


def test_an_unknown_plugin_of_any_length_is_a_line(refused: Refused) -> None:
    assert len(refused(["run", "--plugin", LONG], 4, "no plugin").splitlines()) == 1


def test_a_name_with_a_line_break_is_one_line(refused: Refused) -> None:
    assert len(refused(["config", "a\n  b"], 2, r"a\n  b").splitlines()) == 1


def test_many_problems_are_some_lines_and_a_count(refused: Refused) -> None:
    Path("many.yaml").write_text("extends: streets\n" + "".join(f"slip{number}{'y' * 500}: 1\n" for number in range(1000)))
    lines = refused("config many.yaml", 2, "1000 problems in many.yaml:").splitlines()
    assert lines[-1] == "  and 980 more"
    assert len(lines) == 22


def test_a_log_line_is_cut_and_so_is_a_warning_of_rounds(tmp_path: Path) -> None:
    from udacore.engine.tracking import Tracker

    tracker = Tracker(tmp_path, tensorboard=False)
    tracker.say(f"note: {LONG}\nsecond")
    tracker.close()
    first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert len(first) <= LONGEST_LINE
    assert "more characters" in first
    assert second == "second"


def test_names_are_counted_where_they_do_not_fit() -> None:
    assert list_names(range(46)) == "0, 1, 2 and 43 more"
    assert list_names(["a" * 200, "b" * 200, "c" * 200], most=3).endswith("and 1 more")
    assert len(list_names(["n" * 1000] * 1000, most=50)) <= LONGEST_LINE
    assert one_line("a\n\n  b") == "a b"


def test_what_a_process_is_called_does_not_lengthen_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", LONG)
    assert main(["config", "nothing"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= LONGEST_LINE
