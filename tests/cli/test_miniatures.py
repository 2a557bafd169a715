"""`uda data make` writes what `uda data check` finds sound and a preset trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from udacore.cli import main
from udacore.cli.miniatures import list_forms

Capture = pytest.CaptureFixture[str]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", list_forms())
def test_a_miniature_is_sound_and_the_same_for_the_same_seed(form: str, tmp_path: Path, capsys: Capture) -> None:
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        assert main(["data", "make", str(tmp_path / name), "--like", form, "--count", "5", "--size", "96x64", "--seed", str(seed)]) == 0
    assert "5 images of 96 x 64" in capsys.readouterr().out
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert one.keys() == other.keys()
    assert one != other
    extra = ["label_space=streets"] if form == "folder" else []
    words = ["data", "check", "--dataset", form.partition("-")[0], "--root", str(tmp_path / "one"), "--full", *extra]
    assert main(words) == 0, capsys.readouterr()
    assert "images  5" in capsys.readouterr().out


def test_a_preset_trains_on_miniatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDACORE_DATA", "data")
    monkeypatch.setenv("UDACORE_CACHE", "cache")
    for form in ("gta5", "cityscapes"):
        assert main(["data", "make", f"data/{form}", "--like", form, "--count", "4"]) == 0
    words = ["source.transform.resize.size=[48,24]", "evaluate.target.size=[48,24]", "model.name=small", "initial=random"]
    assert main(["run", "gta5-cityscapes", *words, "rounds.source.steps=1", "batch=2", "device=cpu", "workers=0"]) == 0
    assert "images 1" in capsys.readouterr().out


def test_a_run_adapts_to_fog_and_its_score_names_the_density(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDACORE_DATA", "data")
    monkeypatch.setenv("UDACORE_CACHE", "cache")
    for form in ("gta5", "foggy_cityscapes"):
        assert main(["data", "make", f"data/{form}", "--like", form, "--count", "4"]) == 0
    fog = ["target.dataset=foggy_cityscapes", "evaluate.target.dataset=foggy_cityscapes", "evaluate.target.beta=0.01"]
    words = ["source.transform.resize.size=[48,24]", "evaluate.target.size=[48,24]", "model.name=small", "initial=random"]
    run = ["run", "gta5-cityscapes", *fog, *words, "rounds.source.steps=1", "batch=2", "device=cpu", "workers=0"]
    assert main([*run, "name=fog"]) == 0
    scores = [json.loads(line) for line in Path("runs/fog/metrics.jsonl").read_text().splitlines()]
    protocols = [line["protocol"] for line in scores if "protocol" in line]
    assert {(each["dataset"], each["split"], each["beta"], each["images"]) for each in protocols} == {("foggy_cityscapes", "val", 0.01, 1)}
    assert main([*run, "name=other", "evaluate.target.split=test"]) == 3
    assert "no split 'test' in data/foggy_cityscapes/leftImg8bit_foggy; possible: train, val" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["full"], "full exists and is not empty; name a new folder"),
        (["file"], "file exists and is not empty"),
        (["new", "--size", "128"], "--size: must be WIDTHxHEIGHT, such as 128x72, got '128'"),
        (["new", "--size", "20x20"], "--size: must be 48x40 at least, got 20x20"),
        (["new", "--count", "0"], "0 is not in the range"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    (tmp_path / "file").touch()
    assert main(["data", "make", *words, "--like", "gta5"]) == 2
    assert said in capsys.readouterr().err
    assert contents(tmp_path).keys() == {"full/mine.txt", "file"}
