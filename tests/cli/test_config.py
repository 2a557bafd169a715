"""`uda config` prints a file that a run reads back to the same settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from udacore.cli import main
from udacore.cli.arguments import read_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text("plugin: source-only\nsteps: 3\nrounds: {source: {draws: [source]}, adapt: {batch: 6}}\n")
    return str(path)


@pytest.mark.parametrize("form", [[], ["--plain"]])
def test_what_is_printed_reads_back_to_the_same(mine: str, form: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert main(["config", *form, mine, "batch=4", "rounds.source.steps=7"]) == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    _, config = read_run(None, [mine, "batch=4", "rounds.source.steps=7"])
    assert (config.rounds["source"].steps, config.rounds["source"].batch, config.rounds["adapt"].batch) == (7, 4, 6)
    assert read_run(None, [str(printed)])[1] == config


def test_every_setting_is_explained(mine: str, capsys: Capture) -> None:
    assert main(["config", mine]) == 0
    shown = capsys.readouterr().out
    assert "# seed of every random draw (a whole number; default 0)\nseed: 0\n" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_json_holds_the_same_as_yaml(mine: str, capsys: Capture) -> None:
    assert main(["config", mine, "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert main(["config", mine, "--plain"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == as_json


def test_a_method_from_a_file_brings_its_settings(mine: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "entropy.py"
    path.write_text(
        "import attrs\nfrom udacore import MethodSettings, hookimpl, option\n\n@attrs.frozen(kw_only=True)\n"
        "class Settings(MethodSettings):\n    weight: float = option(0.5, 'of the entropy')\n\n"
        "@hookimpl\ndef target_loss(step):\n    return {}\n"
    )
    assert main(["config", "--plugin", str(path), mine, "rounds.adapt.method.weight=2"]) == 0
    shown = capsys.readouterr().out
    assert f"plugin: {path}" in shown
    assert "# of the entropy (a number; default 0.5)" in shown
    method, config = read_run(str(path), [mine, "rounds.adapt.method.weight=2"])
    assert [round.method for round in config.rounds.values()] == [method.settings(), method.settings(weight=2.0)]


def test_the_option_wins_over_the_file_and_the_file_over_the_default(mine: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("plugin: nope\nsteps: 1\nrounds: {source: {}}\n")
    assert read_run("source-only", [str(other)])[1].plugin == "source-only"
    assert main(["config", str(other)]) == 4
    assert read_run(None, [mine, "plugin=source-only"])[0].name == "source-only"


def test_a_path_with_an_equals_sign_is_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "lr=1"
    folder.mkdir()
    (folder / "config.yaml").write_text("steps: 1\nrounds: {source: {}}\n")
    assert list(read_run(None, [str(folder / "config.yaml")])[1].rounds) == ["source"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.yaml"], 2, "missing.yaml does not exist"),
        (["a.yaml", "b.yaml"], 2, "only one configuration is possible"),
        (["MINE", "bach=4"], 2, "did you mean 'batch'?"),
        (["MINE", "steps=many"], 2, "steps"),
        (["--plugin", "nope"], 4, "pip install udacore-nope"),
    ],
)
def test_a_slip_is_one_line_with_its_exit_code(words: list[str], code: int, said: str, mine: str, capsys: Capture) -> None:
    assert main(["config", *(mine if word == "MINE" else word for word in words)]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_all_problems_are_reported_at_once(mine: str, capsys: Capture) -> None:
    assert main(["config", mine, "bach=4", "seed=-1"]) == 2
    shown = capsys.readouterr().err
    assert "bach" in shown
    assert "seed" in shown
