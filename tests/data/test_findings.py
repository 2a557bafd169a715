"""`uda data check` says what its counts mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udacore.cli import main
from udacore.data.findings import find_unequal_sizes, group_alike
from udacore.testing.formats import write_cityscapes, write_gta5

Capture = pytest.CaptureFixture[str]


def write_own(root: Path, ids: tuple[int, ...], count: int = 3) -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        label = np.repeat(np.array(ids, np.uint8), 32).reshape(len(ids), 32)
        Image.fromarray(np.zeros((*label.shape, 3), np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(label).save(root / "labels" / f"{number}.png")
    (root.parent / "two.yaml").write_text("classes: [ground, thing]\n")


def check(capsys: Capture, root: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["data", "check", "--dataset", "folder", "--root", str(root), f"label_space={root.parent / 'two.yaml'}", *words])
    return code, capsys.readouterr().out


def test_a_mask_of_0_and_255_is_recognised(tmp_path: Path, capsys: Capture) -> None:
    write_own(tmp_path / "own", (0, 255, 255))
    code, out = check(capsys, tmp_path / "own")
    assert code == 3
    assert "labels hold 0 and 255 alone: for a mask write label_map: {0: ground, 255: thing}; as it is 255 is ignored" in out
    assert check(capsys, tmp_path / "own", "label_map={0: ground, 255: thing}")[0] == 0


def test_ids_that_the_map_leaves_out_are_named_with_their_share(tmp_path: Path, capsys: Capture) -> None:
    write_own(tmp_path / "own", (7, 8, 9, 9))
    code, out = check(capsys, tmp_path / "own", "label_map={7: ground, 8: thing}")
    assert code == 0
    first = tmp_path / "own" / "labels" / "0.png"
    assert f"note: raw id 9 is left out by label_map: 50.0 % of the pixels, first in {first}" in out


def test_ten_problems_of_one_kind_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    write_own(tmp_path / "own", (0, 1), count=12)
    for path in sorted((tmp_path / "own" / "images").iterdir())[:10]:
        path.write_bytes(b"no image")
    code, out = check(capsys, tmp_path / "own")
    assert code == 3
    problems = [line for line in out.splitlines() if line.startswith("  problem: ")]
    assert len(problems) == 1
    assert problems[0].endswith("(and 9 more like it)")


def test_lines_of_another_kind_stay_apart() -> None:
    lines = ["image a/1.png is 3 x 4", "image b/22.png is 5 x 6", "label a/1.png is gone"]
    assert group_alike(lines) == ["image a/1.png is 3 x 4 (and 1 more like it)", "label a/1.png is gone"]


@pytest.mark.parametrize(
    ("sizes", "transforms", "batch", "is_named"),
    [
        (["4 x 4", "5 x 4"], ["flip"], 2, True),
        (["4 x 4", "5 x 4"], ["flip"], 1, False),
        (["4 x 4"], ["flip"], 2, False),
        (["4 x 4", "5 x 4"], ["resize-1", "flip"], 2, False),
        (["4 x 4"], ["resize", "scale"], 2, True),
        (["4 x 4"], ["scale", "crop"], 2, False),
    ],
)
def test_sizes_and_transforms_are_seen_together(sizes: list[str], transforms: list[str], batch: int, is_named: bool) -> None:
    assert bool(find_unequal_sizes(sizes, transforms, batch)) is is_named


def test_a_configuration_whose_images_do_not_fit_together_is_a_problem(tmp_path: Path, capsys: Capture) -> None:
    write_gta5(tmp_path / "gta5")
    write_cityscapes(tmp_path / "cityscapes")
    words = [f"{key}={tmp_path / name}" for key, name in (("source.root", "gta5"), ("target.root", "cityscapes"), ("evaluate.target.root", "cityscapes"))]
    assert main(["data", "check", "gta5-cityscapes", *words, "--json"]) == 0
    capsys.readouterr()
    assert main(["data", "check", "gta5-cityscapes", *words, "rounds.source.source.transform=null", "source.transform=null", "--json"]) == 3
    problems = [problem for report in json.loads(capsys.readouterr().out) for problem in report["problems"]]
    assert any(problem.startswith("images of one batch of ") for problem in problems)
