"""Overlays are valid with their manifest only, and belong to the weights that made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from udacore.data.reading import read_image, read_label
from udacore.engine.files.overlays import Overlay, require_overlay
from udacore.errors import PluginError, UdaError
from udacore.labels import get_label_space

SPACE = get_label_space("streets")


def label_map(value: int = 3) -> np.ndarray:
    return np.full((4, 6), value, np.uint8)


def begun(folder: Path, source: str = "abc") -> Overlay:
    overlay = Overlay(folder, source)
    overlay.begin()
    return overlay


def test_labels_are_complete_with_the_manifest_of_the_same_weights_only(tmp_path: Path) -> None:
    overlay = begun(tmp_path / "labels")
    overlay.write_label("a/b", label_map(), SPACE)
    assert not overlay.is_complete()
    with pytest.raises(UdaError, match=r"labels of round 'x': .* is missing or incomplete; run the round that writes it first"):
        require_overlay(tmp_path / "labels", "labels of round 'x'")
    overlay.finish(["a/b"], {"labelled": 0.5})
    assert overlay.is_complete()
    assert not Overlay(tmp_path / "labels", "def").is_complete()
    assert require_overlay(tmp_path / "labels", "") == tmp_path / "labels"
    assert (read_label(tmp_path / "labels" / "a" / "b.png", "ids") == 3).all()
    manifest = json.loads((tmp_path / "labels" / "manifest.json").read_text())
    assert manifest == {"count": 1, "source": "abc", "numbers": {"labelled": 0.5}, "names": ["a/b"]}


def test_files_of_the_same_weights_are_kept_and_those_of_others_removed(tmp_path: Path) -> None:
    begun(tmp_path).write_label("a", label_map(1), SPACE)
    begun(tmp_path).write_label("a", label_map(2), SPACE)
    assert (read_label(tmp_path / "a.png", "ids") == 1).all()
    begun(tmp_path, "def")
    assert [path.name for path in tmp_path.iterdir()] == ["source.json"]


def test_a_manifest_that_is_cut_off_does_not_count(tmp_path: Path) -> None:
    overlay = begun(tmp_path)
    overlay.finish([])
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text[: len(text) // 2])
    assert not overlay.is_complete()
    with pytest.raises(UdaError, match="missing or incomplete"):
        require_overlay(tmp_path, "labels")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], r"no label for 1 of 2 target images \(first: 'b'\)"),
        (["a", "b", "b"], r"more than one label for 1 images \(first: 'b'\)"),
        (["a", "b", "c"], r"yielded 1 names that are not target images \(first: 'c'\)"),
    ],
)
def test_a_set_of_labels_that_is_not_the_target_is_refused(tmp_path: Path, names: list[str], text: str) -> None:
    overlay = begun(tmp_path)
    for name in names:
        overlay.write_label(name, label_map(), SPACE)
    with pytest.raises(PluginError, match=text):
        overlay.finish(["a", "b"])
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (np.zeros((4, 6)), "must be H W uint8, got float64"),
        (np.zeros((1, 4, 6), np.uint8), "must be H W uint8, got uint8"),
        (label_map(12), r"has ids \[12\]; streets has 0 to 11 and 255"),
    ],
)
def test_a_map_that_is_no_label_is_refused(tmp_path: Path, label: np.ndarray, text: str) -> None:
    with pytest.raises(PluginError, match=text):
        begun(tmp_path).write_label("a", label, SPACE)


def test_images_are_rgb_bytes_and_nothing_written_leaves_nothing(tmp_path: Path) -> None:
    overlay = begun(tmp_path / "images")
    with pytest.raises(PluginError, match="write_image: 'a' must be H W 3 uint8, got float64"):
        overlay.write_image("a", np.zeros((4, 6, 3)))
    overlay.finish_any(required=False)
    assert not (tmp_path / "images").exists()
    overlay = begun(tmp_path / "images")
    picture = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    overlay.write_image("a", picture)
    overlay.finish_any(required=False)
    assert (read_image(tmp_path / "images" / "a.png") == picture).all()
    joining = begun(tmp_path / "images")
    joining.write_image("b", picture)
    joining.finish_any(required=False)
    assert json.loads((tmp_path / "images" / "manifest.json").read_text())["names"] == ["a", "b"]


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    begun(tmp_path / "labels").write_label("a/b", label_map(), SPACE)
    half = tmp_path / "labels" / "a" / ".c.png.4711.tmp"
    half.write_bytes(b"\x89PNG")
    begun(tmp_path / "labels")
    assert not half.exists()
    assert (tmp_path / "labels" / "a" / "b.png").exists()
