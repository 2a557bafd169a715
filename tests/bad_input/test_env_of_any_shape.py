"""An env.json that no run has written is named with the way on, and is not taken for a missing one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folder import RESUME, RUN

from udacore.cli import main
from udacore.engine.files.json_files import read_environment
from udacore.errors import DataError

ENVIRONMENTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "cut": (lambda content: json.dumps(content)[:-3], "not JSON ("),
    "nested deep": (lambda content: "[" * 100_000, "it is nested too deep"),
    "null": (lambda content: "null", "must be a mapping, got NoneType"),
    "a list": (lambda content: "[1]", "must be a mapping, got list"),
    "a text": (lambda content: '"files"', "must be a mapping, got str"),
    "a number": (lambda content: "3", "must be a mapping, got int"),
    "empty": (lambda content: "{}", "lacks 'versions'"),
    "not UTF-8": (lambda content: b"\xff\xfe{}", "not JSON ("),
    "a number of many digits": (lambda content: '{"processes": ' + "9" * 10_000 + "}", "not JSON ("),
    "too large": (
        lambda content: b"[" + b" " * (1 << 27),
        f"has {(1 << 27) + 1} bytes; at most {1 << 27} are read",
    ),
    "no processes": (lambda content: without(content, "processes"), "lacks 'processes'"),
    "processes of text": (
        lambda content: json.dumps({**content, "processes": "1"}),
        "processes must be a whole number, got str",
    ),
    "threads of a list": (
        lambda content: json.dumps({**content, "threads": [1]}),
        "threads must be a whole number, got list",
    ),
    "versions of a list": (
        lambda content: json.dumps({**content, "versions": [1]}),
        "versions must be a mapping, got list",
    ),
    "versions of lists": (
        lambda content: json.dumps({**content, "versions": {"torch": [1]}}),
        "versions must be texts by name",
    ),
    "weights of numbers": (
        lambda content: json.dumps({**content, "weights": {"x": 1}}),
        "weights must be texts by name",
    ),
    "plugin of text": (
        lambda content: json.dumps({**content, "plugin": "x"}),
        "plugin must be a mapping, got str",
    ),
    "history of a mapping": (
        lambda content: json.dumps({**content, "history": {}}),
        "history must be a list, got dict",
    ),
    "files of text": (
        lambda content: json.dumps({**content, "files": "x"}),
        "files must be a mapping, got str",
    ),
    "files of numbers": (
        lambda content: json.dumps({**content, "files": {"x": 3}}),
        "files, 'x': must have a count and prints",
    ),
    "a count of text": (
        lambda content: json.dumps({**content, "files": {"x": {"count": "3", "prints": ""}}}),
        "files, 'x': must have",
    ),
}


def without(content: dict[str, Any], key: str) -> str:
    return json.dumps({name: value for name, value in content.items() if name != key})


WAY_ON = "; put the file back, or delete it: without it a run goes on, and data and versions are not compared"


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_an_env_json_that_no_run_has_written_is_named_with_the_way_on(
    kind: str, killed: Path, folder: Path
) -> None:
    spoil, said = ENVIRONMENTS[kind]
    text = spoil(json.loads((killed / "runs/bad/env.json").read_text()))
    Path("env.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_environment(Path())
    assert str(caught.value).startswith("env.json: ")
    assert said in str(caught.value)
    assert str(caught.value).endswith(WAY_ON)


def test_a_broken_env_json_stops_a_run_that_goes_on_and_nothing_else(
    run: Path, refused: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    path = Path("runs/bad/env.json")
    path.write_text("[" * 100_000)
    for command in (RESUME, f"{RUN} --round more", f"{RUN} --resume-anyway"):
        assert refused(command, 3, "it is nested too deep", WAY_ON).startswith(f"{path}: ")
    assert main(["eval", "runs/bad"]) == 0
    path.unlink()  # what it says is true
    assert main(RESUME.split()) == 0
    assert (
        "env.json is missing: whether data and versions are those of the beginning is not known"
        in capfd.readouterr().err
    )
