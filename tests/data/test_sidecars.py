"""Further maps beside the images: read by kind, under the image's geometry, seen by both hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from udacore.cli import main
from udacore.config import transforms as settings
from udacore.config.schema import DataConfig, ExtraConfig, TileConfig
from udacore.data.replacements import with_extras
from udacore.data.sidecars import Sidecar, file_keys, read_floats
from udacore.data.tables import open_table
from udacore.data.transforms import Sample, apply_transforms
from udacore.errors import DataError
from udacore.labels import get_label_space

STEPS: dict[str, dict[str, Any]] = {
    "resize": {"resize": settings.Resize(size=(24, 18))},
    "short side": {"resize_short_side": settings.ResizeShortSide(range=(10, 40))},
    "scale": {"scale": settings.Scale(range=(0.5, 2.0))},
    "rotate": {"rotate": settings.Rotate(range=(-30, 30))},
    "crop with padding": {"crop": settings.Crop(size=(50, 20))},
    "flip": {"flip": settings.Flip(probability=1.0)},
    "zoom": {"zoom": settings.Zoom(range=(0.5, 2.0))},
    "colours": {"jitter": settings.Jitter(), "grey": settings.Grey(), "streets_jitter": settings.StreetsJitter(strength=1.0)},
    "all": {"scale": settings.Scale(range=(0.5, 2.0)), "rotate": settings.Rotate(range=(-9, 9)), "crop": settings.Crop(size=(30, 30)), "flip": settings.Flip()},
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("seed", range(4))
def test_maps_go_where_the_label_and_the_image_go(steps: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, label = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8), rng.integers(1, 20, (32, 40), dtype=np.uint8)
    extra = {"ids": label.copy(), "depth": label.astype(np.float32) + 0.5, "other": image.copy()}
    plain = apply_transforms(Sample(image=image, label=label), steps, np.random.default_rng(seed))
    with_extra = apply_transforms(Sample(image=image, label=label, extra=extra), steps, np.random.default_rng(seed))
    assert np.array_equal(plain.image, with_extra.image)
    assert plain.label is not None
    found = with_extra.extra
    assert np.array_equal(found["ids"], plain.label)
    assert found["depth"].dtype == np.float32
    assert np.array_equal(found["depth"], np.where(plain.label == 255, 0, plain.label + np.float32(0.5)))
    if "jitter" not in steps:
        assert np.array_equal(found["other"], plain.image)
    else:
        assert np.array_equal(found["other"], image)


def test_a_map_of_another_size_is_brought_straight_to_that_of_the_image() -> None:
    depth, other = np.arange(64, dtype=np.float32).reshape(8, 8), np.full((8, 8, 3), 77, np.uint8)
    sample = Sample(image=np.zeros((16, 32, 3), np.uint8), extra={"depth": depth, "other": other})
    for steps in ({}, {"resize": settings.Resize(size=(32, 16))}):
        found = apply_transforms(sample, steps, np.random.default_rng(0)).extra
        assert np.array_equal(found["depth"], depth.repeat(2, 0).repeat(4, 1))
        assert np.array_equal(found["other"], np.full((16, 32, 3), 77, np.uint8))


def test_numbers_are_read_from_arrays_and_images_of_one_channel(tmp_path: Path) -> None:
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    np.save(tmp_path / "half.npy", (deep / 1000).astype(np.float16))
    np.save(tmp_path / "column.npy", deep[..., None])
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "grey.png"), (deep >> 8).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "real.tif"), deep.astype(np.float32) / 7)
    for name, want in (("half.npy", deep / 1000), ("column.npy", deep), ("deep.png", deep), ("grey.png", deep >> 8), ("real.tif", deep / 7)):
        found = read_floats(tmp_path / name, "depth")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, want, rtol=1e-3)
    sidecar = Sidecar(name="depth", paths=(str(tmp_path / "deep.png"),), kind="float", factor=0.5)
    assert np.array_equal(sidecar.read(0), deep.astype(np.float32) / 2)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colours.png"), np.zeros((3, 4, 3), np.uint8))
    np.save(tmp_path / "flags.npy", np.zeros((3, 4), bool))
    cv2.imwrite(str(tmp_path / "ids.png"), np.full((3, 4), 300, np.uint16))
    (tmp_path / "broken.png").write_bytes(b"nothing")
    rows = (
        ("colours.png", "float", "holds uint8 (3, 4, 3), expected numbers H W"),
        ("flags.npy", "float", "holds bool (3, 4), expected numbers H W"),
        ("broken.png", "float", "is broken or no image"),
        ("none.npy", "float", "does not exist"),
        ("ids.png", "label", "ids.png"),
        ("broken.png", "image", "is broken or no image"),
    )
    for name, kind, said in rows:
        with pytest.raises(DataError, match=name) as caught:
            Sidecar(name="depth", paths=(str(tmp_path / name),), kind=kind).read(0)
        assert said in str(caught.value)


def test_of_a_large_image_the_window_of_each_map_is_read(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 250, (40, 60), dtype=np.uint8)
    for folder in ("images", "depth", "small"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.repeat(whole[..., None], 3, 2))
        np.save(tmp_path / "depth" / f"{name}.npy", whole.astype(np.float32))
        np.save(tmp_path / "small" / f"{name}.npy", whole[:20, :30].astype(np.float32))
    config = DataConfig(dataset="folder", root=str(tmp_path), tile=TileConfig(size=(32, 16), stride=(16, 12)))
    table = open_table(config, get_label_space("streets"), domain="target", labels=False)
    with_depth = with_extras(table, {"depth": ExtraConfig(folder=str(tmp_path / "depth"))})
    assert len(with_depth) == len(table) > 4
    for index in range(len(table)):
        assert np.array_equal(with_depth.extras["depth"].read(index), table.read_image(index)[..., 0].astype(np.float32))
    small = with_extras(table, {"depth": ExtraConfig(folder=str(tmp_path / "small"))})
    with pytest.raises(DataError, match=r"depth .*a.npy is 30 x 20, but its image, which is cut into tiles, 60 x 40"):
        small.extras["depth"].read(0)


def test_names_may_differ_by_a_text() -> None:
    config = ExtraConfig(folder="x", rename={"_leftImg8bit": "_disparity", "aachen/": "a/"})
    assert file_keys(("aachen/aachen_0_leftImg8bit",), config) == ("a/aachen_0_disparity",)


METHOD = """
from udacore import hookimpl, source_only

def look(batch, seen=[]):
    n, _, height, width = batch.image.shape
    depth, colours = batch.extra["depth"], batch.extra["colours"]
    assert depth.shape == (n, height, width) and str(depth.dtype) == "torch.float32"
    assert colours.shape == (n, 3, height, width) and 0 <= float(colours.min()) and float(colours.max()) <= 1
    for name, one in zip(batch.name, depth):
        assert float(one.max()) == int(name[-2:]) + 1, (name, float(one.max()))

@hookimpl
def source_loss(step):
    look(step.source)
    ids = step.source.extra["ids"]
    assert str(ids.dtype) == "torch.int64" and set(ids.unique().tolist()) <= {7, 255}
    return source_only.source_loss(step)

@hookimpl
def target_loss(step):
    look(step.target)
    assert set(step.target.extra) == {"depth", "colours"}
    step.record("depth", step.target.extra["depth"].mean())
    return {}
"""

RUN = (
    "run", "streets-adapt", "plugin=./method.py", "device=cpu", "threads=1", "tensorboard=false", "batch=2", "source.count=4", "target.count=4",
    "source.image_size=[64,32]", "target.image_size=[64,32]", "evaluate.target.count=1", "evaluate.target.image_size=[64,32]", "evaluate.source=null",
    "name=run", "initial=random", "rounds={only: {steps: 3, draws: [source, target]}}", "rounds.source=null", "rounds.adapt=null", "save_every=1",
    "source.extras={depth: {folder: depth}, colours: {folder: colours, kind: image}, ids: {folder: ids, kind: label}}",
    "target.extras={depth: {folder: deep, factor: 0.5}, colours: {folder: colours, kind: image}}",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("method.py").write_text(METHOD)
    for folder in ("depth", "deep", "colours", "ids"):
        Path(folder).mkdir()
    for index in range(4):
        np.save(f"depth/{index:05d}.npy", np.full((32, 64), index + 1, np.float32))
        cv2.imwrite(f"deep/{index:05d}.png", np.full((32, 64), 2 * (index + 1), np.uint16))
        cv2.imwrite(f"colours/{index:05d}.png", np.full((16, 32, 3), 40 * index, np.uint8))
        cv2.imwrite(f"ids/{index:05d}.png", np.full((32, 64), 7, np.uint8))
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_both_hooks_see_the_maps_of_their_images(here: Path, workers: int) -> None:
    assert main([*RUN, f"workers={workers}"]) == 0
    assert '"depth": ' in Path("runs/run/metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda: Path("deep/00002.png").unlink(), "target.extras.depth: deep lacks 1 of 4 depth files: "),
        (lambda: Path("ids/00001.png").rename("ids/other.png"), "source.extras.ids: ids lacks 1 of 4 ids files: "),
        (lambda: [path.unlink() for path in Path("deep").iterdir()] and Path("deep").rmdir(), "target.extras.depth: no folder deep of depth files"),
        (lambda: cv2.imwrite("deep/00003.png", np.zeros((4, 4, 3), np.uint8)), "depth deep/00003.png holds uint8 (4, 4, 3), expected numbers H W"),
    ],
)
def test_a_map_that_is_missing_is_one_line_before_the_first_step(
    here: Path, break_it: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it()
    assert main([*RUN, "workers=0"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["target.extras={other: {kind: float}}"], "target.extras.other.folder"),
        (["target.extras={depth: {folder: deep, kind: floats}}"], "target.extras.depth.kind"),
        (["target.extras={depth: {folder: ''}}"], "target.extras.depth.folder: must be the name of a file or folder"),
        (["target.extras={2d: {folder: deep}}"], "target.extras: '2d' is no name of a map"),
    ],
)
def test_settings_that_mean_nothing_are_one_line(here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "workers=0", *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_map_that_has_changed_is_noticed_on_resume(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from udacore.testing.interruption import DeathError, dying_in

    with dying_in("only", step=2), pytest.raises(DeathError):
        main([*RUN, "workers=0"])
    np.save("depth/00001.npy", np.full((32, 64), 9, np.float32))
    assert main([*RUN, "workers=0", "--resume"]) == 2
    assert "rounds.only.source: 1 of 4 names, images or labels changed" in capsys.readouterr().err
