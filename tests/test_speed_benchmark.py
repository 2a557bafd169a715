"""The speed benchmark compares forms that give the same numbers, and notices those that do
not. Times are not tested."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def speed():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("speed")


def test_quick_run_prints_a_row_for_every_case_and_finds_equal_numbers(speed, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["speed.py", "--quick"])
    speed.main()
    head, _, table = capsys.readouterr().out.partition("\n\n")
    assert f"torch {torch.__version__}," in head
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == list(speed.CASES)
    assert all(row[-1] == "equal" or float(row[-1]) <= speed.TOLERANCE for row in rows)


def test_a_report_tells_device_threads_and_where_ours_is_not_faster(speed):
    place = speed.Place(torch.device("cpu"), True)
    rows = [speed.Row(name=name, size="1", plain=1.0, ours=ours, repeats=2, difference=0.0, memory=(2**20, 0)) for name, ours in (("a", 0.5), ("b", 4.0))]
    text = speed.report(rows, place)
    assert "| a | 1 | 1000.00 | 500.00 | 2.0 | 1 | 0 | 2 | equal |" in text
    assert "Where ours is not faster: b." in text
    assert f"{torch.get_num_threads()} torch thread(s)" in text
    assert f"torch {torch.__version__}," in text


def test_every_table_of_speed_names_the_torch_it_was_made_with():
    before = re.split(r"(?:^\|.*\n)+", (BENCHMARKS / "SPEED.md").read_text(), flags=re.MULTILINE)[:-1]
    assert len(before) > 3
    assert not [text for text in before if not re.search(r"torch \d+\.\d+\.\d+", text)]


def test_other_numbers_end_the_benchmark_with_one_line(speed, monkeypatch):
    wrong = speed.Pair(size="1", plain=lambda: {"loss": torch.ones(3)}, ours=lambda: {"loss": torch.ones(3) * 1.001})
    monkeypatch.setitem(speed.CASES, "wrong", lambda place: wrong)
    monkeypatch.setattr("sys.argv", ["speed.py", "--quick", "--only", "wrong"])
    with pytest.raises(SystemExit, match=r"^speed: wrong: our form differs from the plain one by 1\.0e-03"):
        speed.main()


def test_whole_numbers_shapes_and_names_must_be_equal(speed):
    assert speed.distance(np.array([1, 2]), np.array([1, 3])) == float("inf")
    assert speed.distance(np.ones(2), np.ones(3)) == float("inf")
    assert speed.distance(np.array([np.nan]), np.ones(1)) == float("inf")
    assert speed.difference(speed.Pair(size="1", plain=lambda: {"a": np.ones(1)}, ours=lambda: {"b": np.ones(1)})) == float("inf")
