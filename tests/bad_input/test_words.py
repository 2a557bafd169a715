"""Words of the command line: empty ones, those that can name no file, and those
that a terminal would obey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from udacore.cli import main

Refused = Callable[..., str]
LONG = "a" * 300
ESC = "a\x1b[31m\rb"


@pytest.mark.parametrize(
    "words",
    [
        ["run", ""], ["run", " ", "--dry-run"], ["config", ""], ["config", "streets", ""], ["data", "check", ""], ["eval", ""], ["predict", "", "x", "-o", "o"],
        ["predict", "runs", "", "-o", "o"], ["predict", "runs", "x", "-o", ""], ["compare", ""], ["compare", "runs", ""],
        ["data", "make", "", "--like", "gta5"],
        ["data", "check", "--dataset", "gta5", "--root", ""], ["plugins", "new", ""], ["plugins", "new", "ab", "--folder", ""],
        ["plugins", "new", "ab", "--from", ""], ["plugins", "check", "source-only", ""],
        ["eval", "streets", "--checkpoint", ""],
        ["import", "-p", "fada", "", "out.pt"], ["import", "-p", "fada", "in.pt", ""], ["plugins", "check", ""],
        ["config", "streets", "name=''"], ["config", "streets", "folder=''"], ["config", "streets", "source.root=''"], ["config", "streets", "source.list=' '"],
        ["config", "streets", "target.labels=''"], ["config", "streets", "weights=''"], ["config", "streets", "rounds.source.evaluate.target.root=''"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_word_is_no_default(refused: Refused, words: list[str]) -> None:
    Path("runs").mkdir()
    message = refused(words, 2)
    assert "empty" in message or "''" in message  # not refused for another reason


def test_an_empty_base_is_none(refused: Refused) -> None:
    Path("mine.yaml").write_text("extends: ''\n")
    refused("config mine.yaml", 2, "an empty word names no configuration")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"compare {LONG}", "no file can have such a name"), (f"data make {LONG} --like gta5", "no file can have such a name"),
        (f"plugins new {LONG}", "at most 100 characters"), (f"plugins new ab --folder {LONG}", "no file can have such a name"),
        (f"plugins new ab --folder {LONG}/x", "no file can have such a name"), (f"plugins new --from {LONG}.py", "no file can have such a name"),
        (f"import -p fada x.pt {LONG}", "no file can have such a name"), (f"predict runs x -o {LONG}", "no file can have such a name"),
        (f"predict runs {LONG} -o out", "no file can have such a name"), (f"eval streets --checkpoint {LONG}", "no file can have such a name"),
        (f"run {{STREETS}} name={LONG}", "no file can have such a name"),
        ("data make loop/x --like gta5", "no file can have such a name"),
    ],
)  # fmt: skip
def test_a_word_that_can_name_no_file(refused: Refused, words: str, said: str) -> None:
    Path("loop").symlink_to("loop")
    refused(words, 2, said, writes=["runs"])


@pytest.mark.parametrize(
    "words",
    [
        "compare ~nosuchuser", "plugins new ab --folder ~nosuchuser", "predict runs x -o ~nosuchuser/x", "predict runs ~nosuchuser -o o",
        "import -p fada x.pt ~nosuchuser/y", "eval ~nosuchuser", "eval streets --checkpoint ~nosuchuser/x.pt", "plugins new --from ~nosuchuser/x.py",
    ],
)  # fmt: skip
def test_no_home_is_made_up(refused: Refused, words: str) -> None:
    refused(words, 2, "no home folder")


def test_runs_that_are_missing_are_named(refused: Refused) -> None:
    refused("compare nosuch", 3, "nosuch: no run folder")


@pytest.mark.parametrize(("name", "said"), [("sorce-only", "did you mean 'source-only'?"), ("./mine.py", "did you mean 'mines.py'?"), (ESC, r"\x1b")])
def test_a_check_of_nothing_is_no_failed_check(refused: Refused, name: str, said: str) -> None:
    Path("mines.py").touch()
    refused(["plugins", "check", name], 2, said)


@pytest.mark.parametrize(
    "words",
    [["data", "make", "--like", "gta5", ESC], ["plugins", "new", "ab", "--folder", ESC], ["plugins", "show", f"./{ESC}.py"]],
    ids=lambda words: " ".join(words[:2]),
)  # fmt: skip
def test_what_a_terminal_would_obey_is_spelt_out(words: list[str], folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path(f"{ESC}.py").write_text("'''A method \x1b]0;title\x07.'''\nfrom udacore import hookimpl\n@hookimpl\ndef target_loss(step): ...\n")
    assert main(words) == 0
    shown = "".join(capfd.readouterr())
    assert r"a\x1b[31m\rb" in shown
    assert not {"\x1b", "\r", "\x07"} & set(shown)
