"""Masks of the margins of images: made from their files' sizes, under their geometry, seen by hooks beside `valid`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from udacore.cli import main
from udacore.config import transforms as settings
from udacore.config.resolve import load_config
from udacore.config.schema import DataConfig, ExtraConfig, MarginConfig, PixelConfig, TargetConfig, TileConfig
from udacore.data.loading import stream_batches
from udacore.data.prints import prints_of
from udacore.data.replacements import with_extras
from udacore.data.sidecars import margin_mask
from udacore.data.tables import ImageTable, open_table
from udacore.data.transforms import Sample, apply_transforms
from udacore.labels import get_label_space
from udacore.testing.checks.subject import shrink

STREETS = get_label_space("streets")
MARGINS = MarginConfig(top=3, bottom=8, left=2, right=5)
STEPS: dict[str, Any] = {
    "resize_within": settings.ResizeWithin(size=(50, 30)), "zoom": settings.Zoom(range=(0.6, 1.4)), "rotate": settings.Rotate(range=(-9, 9)),
    "crop": settings.Crop(size=(40, 36), pad="end"), "flip": settings.Flip(),
}  # fmt: skip


def images(folder: Path, **settings: Any) -> ImageTable:
    """Four images of two sizes; with `tile` their windows."""
    (folder / "images").mkdir(exist_ok=True)
    for index, (height, width) in enumerate([(40, 60), (40, 60), (30, 64), (30, 64)]):
        image = np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
    return open_table(DataConfig(dataset="folder", root=str(folder), **settings), STREETS, domain="target", labels=False)


def test_a_mask_is_false_in_the_margins_alone() -> None:
    mask = margin_mask((20, 30), MARGINS)
    assert mask.dtype == np.bool_
    assert mask[3:12, 2:25].all()
    assert mask.sum() == 9 * 23
    assert not margin_mask((11, 30), MARGINS).any()
    assert not margin_mask((5, 5), MarginConfig(bottom=9)).any()


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_moves_with_the_image_and_is_false_where_padding_shows(seed: int) -> None:
    image, label = np.zeros((32, 48, 3), np.uint8), np.full((32, 48), 255, np.uint8)
    mask = margin_mask((32, 48), MARGINS)
    label[mask] = 1
    plain = apply_transforms(Sample(image=image, label=label), STEPS, np.random.default_rng(seed))
    found = apply_transforms(Sample(image=image, label=label, extra={"trusted": mask}), STEPS, np.random.default_rng(seed))
    assert np.array_equal(found.extra["trusted"], found.label == 1)
    assert found.extra["trusted"].dtype == np.bool_
    assert found.valid is not None
    assert plain.valid is not None
    assert np.array_equal(found.valid, plain.valid)
    assert (found.extra["trusted"] <= found.valid).all()
    assert (found.valid & ~found.extra["trusted"]).any()


def test_each_image_has_a_mask_of_its_own_size_and_a_window_its_part(tmp_path: Path) -> None:
    extras = {"trusted": ExtraConfig(kind="margins", margins=MARGINS)}
    table = with_extras(images(tmp_path), extras)
    for index, size in enumerate([(40, 60), (40, 60), (30, 64), (30, 64)]):
        assert np.array_equal(table.extras["trusted"].read(index), margin_mask(size, MARGINS))
    assert prints_of(table) == prints_of(images(tmp_path))
    tiles = with_extras(images(tmp_path, tile=TileConfig(size=(20, 10))), extras)
    rows, columns = slice(30, 40), slice(40, 60)
    last = next(index for index, name in enumerate(tiles.names) if name == "0@40-30-20x10")
    assert np.array_equal(tiles.extras["trusted"].read(last), margin_mask((40, 60), MARGINS)[rows, columns])


def test_neither_workers_nor_an_interruption_change_a_mask(tmp_path: Path) -> None:
    table = with_extras(images(tmp_path), {"trusted": ExtraConfig(kind="margins", margins=MARGINS)})
    entry = TargetConfig(transform=STEPS)

    def masks(**choices: Any) -> list[Any]:
        common: dict[str, Any] = {"space": STREETS, "seed": 1, "round": "a", "batch": 2, "share": (0, 1), "steps": 4, "domain": "target"}
        return [batch.extra["trusted"] for batch in stream_batches(table, entry, PixelConfig(), **common | choices)]

    first = masks()
    assert first[0].shape == (2, 36, 40)
    assert str(first[0].dtype) == "torch.bool"
    for one, other in zip(first, masks(workers=2), strict=True):
        assert (one == other).all()
    for one, other in zip(first[2:], masks(start=2), strict=True):
        assert (one == other).all()


METHOD = """
from udacore import hookimpl, source_only

@hookimpl
def source_loss(step):
    assert not step.source.extra
    return source_only.source_loss(step)

@hookimpl
def target_loss(step):
    trusted = step.target.extra["trusted"]
    assert trusted.shape == step.target.valid.shape and str(trusted.dtype) == "torch.bool"
    assert step.target.valid.all() and 32 - 10 == int(trusted[0].sum(0).max()) and not trusted[:, -10:].any()
    step.record("trusted", trusted.float().mean())
    return {}
"""
RUN = (
    "run", "streets-adapt", "plugin=./method.py", "device=cpu", "threads=1", "tensorboard=false", "batch=2", "source.count=4", "target.count=4",
    "source.image_size=[64,32]", "target.image_size=[64,32]", "evaluate.target.count=1", "evaluate.target.image_size=[64,32]", "evaluate.source=null",
    "name=run", "initial=random", "rounds={only: {steps: 2, draws: [source, target]}}", "rounds.source=null", "rounds.adapt=null", "workers=0",
    "source.transform=null", "target.transform=null",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("method.py").write_text(METHOD)
    return tmp_path


def test_a_hook_sees_the_mask_beside_valid(here: Path) -> None:
    assert main([*RUN, "target.extras={trusted: {kind: margins, margins: {bottom: 10}}}"]) == 0
    assert '"trusted": 0.6875' in Path("runs/run/metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [
        ("{kind: margins}", 2, "target.extras.trusted.margins: must be above 0 at one edge at least"),
        ("{kind: margins, margins: {top: -1}}", 2, "target.extras.trusted.margins.top: must be at least 0, got -1"),
        ("{kind: margins, folder: x, margins: {top: 1}}", 2, "target.extras.trusted.folder: is not for kind: margins"),
        ("{kind: label, folder: x, margins: {top: 1}}", 2, "target.extras.trusted.margins: is for kind: margins, got kind: label"),
        ("{kind: label}", 2, "target.extras.trusted.folder: is needed for kind: label"),
        ("{kind: margins, margins: {top: 20, bottom: 12}}", 3, "target.extras.trusted.margins leave nothing of image streets W target"),
    ],
)
def test_margins_that_mean_nothing_are_one_line(here: Path, extra: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, f"target.extras={{trusted: {extra}}}"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("runs").exists()


def test_checks_of_a_method_use_margins_that_leave_something_of_their_small_images(here: Path) -> None:
    words = ["target.extras={trusted: {kind: margins, margins: {top: 30, bottom: 240}}}"]
    (round,) = shrink(load_config("streets", words)).rounds.values()
    assert round.target.extras["trusted"].margins == MarginConfig(top=4, bottom=4)
