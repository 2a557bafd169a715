"""One place turns errors into a line and an exit code; help texts show an example."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from udacore.cli import COMMANDS, main

INNER = ["data check", "plugins list", "plugins show", "plugins check"]


@pytest.mark.parametrize("words", [[], *([command] for command in COMMANDS), *(words.split() for words in INNER)], ids=" ".join)
def test_help_shows_an_example_and_fits_80_columns(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "-h"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert max(map(len, shown.splitlines())) < 80


def test_an_unknown_command_names_the_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pluggins"]) == 2
    assert capsys.readouterr() == ("", "error: no command 'pluggins'; did you mean 'plugins'?; see uda --help\n")


def test_an_unknown_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "list", "--jsn"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.endswith("see uda plugins list --help\n")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("words", [["--debug", "plugins", "show", "nope"], ["plugins", "show", "nope", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 4
    assert "Traceback" in capsys.readouterr().err
    assert main([word for word in words if word != "--debug"]) == 4
    shown = capsys.readouterr().err
    assert shown.startswith("error: no plugin 'nope' is installed")
    assert shown.count("\n") == 1


def test_several_processes_say_which_one_complains(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["plugins", "show", "nope"]) == 4
    assert capsys.readouterr().err.startswith("error (process 1): no plugin")


def test_an_error_that_is_not_the_users_keeps_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    lines = (
        "import attrs",
        "from udacore import MethodSettings, option",
        "@attrs.frozen(kw_only=True)",
        "class Settings(MethodSettings):",
        "    x: float = option(factory=lambda: 1 / 0, help='x')",
    )
    path.write_text("\n".join(lines))
    with pytest.raises(ZeroDivisionError):
        main(["plugins", "show", str(path)])


def test_version_names_torch_and_the_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"udacore {metadata.version('udacore')} (torch {metadata.version('torch')}, Python ")


def test_without_a_command_the_help_is_shown_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_an_output_that_is_full_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "udacore", "plugins", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the output: could not be written: No space left on device\n")


def test_a_file_that_may_not_be_read_is_one_line_but_not_where_a_hook_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.py"
    lines = (
        "import attrs",
        "from udacore import MethodSettings, option",
        "def read():",
        "    error = PermissionError(13, 'Permission denied', 'secret.txt')",
        "    NOTE",
        "    raise error",
        "@attrs.frozen(kw_only=True)",
        "class Settings(MethodSettings):",
        "    x: float = option(factory=read, help='x')",
    )
    path.write_text("\n".join(lines).replace("NOTE", "pass"))
    assert main(["plugins", "show", str(path)]) == 1
    assert capsys.readouterr().err == "error: secret.txt: no access: Permission denied\n"
    path.write_text("\n".join(lines).replace("NOTE", "error.add_note('in plugin odd, hook target_loss')"))
    with pytest.raises(PermissionError):
        main(["plugins", "show", str(path)])
