"""`uda compare`: rows over seeds, paired differences, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

import pytest

from udacore.cli import main

Capture = pytest.CaptureFixture[str]
TINY = (
    "device=cpu", "threads=1", "tensorboard=false", "steps=2", "batch=2", "evaluate.source=null",
    *(f"{place}.{word}" for place in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a run, of its matched control and of another run, really trained for two steps."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        place = (f"folder={folder / f'seed-{seed}'}", f"seed={seed}")
        assert main(["run", "streets", *TINY, *place, "name=base"]) == 0
        for control in ("false", "true"):
            words = ("draws=[source,target]", f"control={control}", "name=method", "parts.segmenter.lr=0.01", "target.labels=none")
            assert main(["run", "streets", *TINY, *place, *words]) == 0
    return folder


def miou(folder: Path) -> float:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["miou"] for line in lines if '"miou"' in line][-1]


def compare(capsys: Capture, *words: object) -> tuple[int, str, str]:
    code = main(["compare", *map(str, words)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_runs_of_a_name_are_a_row_and_differences_are_paired_by_seed(runs: Path, capsys: Capture) -> None:
    capsys.readouterr()
    code, out, _ = compare(capsys, runs / "seed-2", runs / "seed-1", "--to", "base", "--json")
    assert code == 0
    rows = {row["run"]: row for row in json.loads(out)}
    assert {name: row["partner"] for name, row in rows.items()} == {"base": None, "method": "method-control", "method-control": "base"}
    for seed in ("1", "2"):
        each = {name: miou(runs / f"seed-{seed}" / name) for name in rows}
        assert {name: row["seeds"][seed]["miou"] for name, row in rows.items()} == each
        assert rows["method-control"]["difference"][seed] == pytest.approx(each["method-control"] - each["base"])


def test_f1_of_a_run_that_kept_none_follows_from_its_iou(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = runs / "seed-1" / "base"
    (told,) = json.loads(compare(capsys, folder, "--json")[1])
    before = shutil.copytree(folder, tmp_path / "before" / "base")
    rows = [json.loads(line) for line in (before / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("f1", None)
        row.pop("mean_f1", None)
    (before / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (found,) = json.loads(compare(capsys, before, "--json")[1])
    (kept, again) = (each["seeds"]["1"] for each in (told, found))
    assert 0 < kept["miou"] < kept["mean_f1"] < 1
    assert again["mean_f1"] == pytest.approx(kept["mean_f1"], abs=1e-12)
    assert again["f1"] == pytest.approx(kept["f1"], abs=1e-12)


def test_the_table_shows_mean_deviation_and_each_seed(runs: Path, capsys: Capture) -> None:
    capsys.readouterr()
    _, out, err = compare(capsys, runs / "seed-1", runs / "seed-2")
    values = [100 * miou(runs / f"seed-{seed}" / "base") for seed in (1, 2)]
    assert f"base            {statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" in out
    assert "to method-control" in out
    assert err == ""
    _, markdown, _ = compare(capsys, runs / "seed-1", "--markdown")
    assert f"| base | {values[0]:.1f} (one seed) |  |" in markdown


def test_a_run_under_another_protocol_is_named(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["run", "streets", *TINY, f"folder={tmp_path}", "name=flipped", "seed=1", "evaluate.target.flip=true"]) == 0
    capsys.readouterr()
    code, _, err = compare(capsys, runs / "seed-1" / "base", tmp_path / "flipped")
    assert code == 0
    assert err.strip() == f"warning: {tmp_path / 'flipped'}: scored with flip True (not False)"


def test_what_cannot_be_compared_is_said_in_one_line(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.yaml").write_text("seed: 1\nrounds: {adapt: {}}\n")
    base = runs / "seed-1" / "base"
    for words, says in (
        ((tmp_path / "nowhere",), "no run folder, and holds none"),
        ((tmp_path / "unfinished",), "round 'adapt' is not finished"),
        ((base, "--set", "traget"), "was not scored on 'traget'; did you mean 'target'?"),
        ((base, "--to", "bse"), "there is no run 'bse'; did you mean 'base'?"),
        ((base, base), "have the same name and seed 1"),
    ):
        capsys.readouterr()
        code, _, err = compare(capsys, *words)
        assert code in (1, 2, 3)
        assert says in err
        assert len(err.splitlines()) == 1


def test_a_folder_that_is_damaged_or_another_programs_is_said_in_one_line(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    metrics = (runs / "seed-1" / "base" / "metrics.jsonl").read_text()
    for number, (name, text, says) in enumerate(
        (
            ("config.yaml", "learning_rate: 3\n", "no run folder: its config.yaml is not one that a run has written"),
            ("config.yaml", "", "no run folder: its config.yaml is not one"),
            ("config.yaml", "seed: 1\nrounds: {}\n", "no run folder: its config.yaml is not one"),
            ("config.yaml", "- 1\n", "must be a mapping of settings"),
            ("config.yaml", "[", "config.yaml, line 1, column 2: "),
            ("metrics.jsonl", metrics[:-40], "metrics.jsonl, line 2: cut off"),
            ("metrics.jsonl", None, "metrics.jsonl: cannot be read (No such file or directory)"),
        )
    ):
        folder = tmp_path / str(number)
        shutil.copytree(runs / "seed-1" / "base", folder)
        (folder / name).unlink()
        if text is not None:
            (folder / name).write_text(text)
        capsys.readouterr()
        code, out, err = compare(capsys, folder)
        assert (code in (1, 2, 3), out) == (True, "")
        assert says in err
        assert len(err.splitlines()) == 1


def test_a_run_whose_configuration_is_broken_is_not_resumed(runs: Path, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(runs / "seed-1" / "base", tmp_path / "base")
    (tmp_path / "base" / "config.yaml").write_text("seed: [\n")
    capsys.readouterr()
    assert main(["run", "streets", *TINY, f"folder={tmp_path}", "name=base", "seed=1", "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "config.yaml, line 2, column 1: " in line
