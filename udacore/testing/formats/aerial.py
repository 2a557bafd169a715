"""Miniatures of LoveDA, and of ISPRS' Potsdam and Vaihingen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from udacore.data.sets.isprs import BANDS, IDS, POTSDAM, VAIHINGEN
from udacore.errors import ConfigError
from udacore.labels import ISPRS_COLOURS, LOVEDA_COLOURS
from udacore.testing.formats.patches import Counts, Size, count_splits, draw_image, draw_labels, save


def write_loveda(
    root: Path, counts: Counts = None, *, size: Size = (96, 96), seed: int = 0
) -> dict[str, list[str]]:
    """`Train/{Urban,Rural}/images_png/0.png` and `masks_png/0.png`, and `Val` alike;
    returns the keys by split.

    Scenes take turns; `counts` is that of both together.
    """
    ids = {name: number for number, name in enumerate(LOVEDA_COLOURS, start=1)}
    written: dict[str, list[str]] = {}
    number = 0
    for part, (split, count) in enumerate(count_splits(counts).items()):
        rng = np.random.default_rng([seed, 18, part])
        for index, raw in enumerate(draw_labels(rng, [size] * count, list(ids.values()), (0,))):
            base = root / split.capitalize() / ("Urban", "Rural")[index % 2]
            save(
                draw_image(rng, raw, ids, (0.8, 0.8, 0.8), LOVEDA_COLOURS),
                base / "images_png" / f"{number}.png",
            )
            save(raw, base / "masks_png" / f"{number}.png")
            written.setdefault(split, []).append(f"{base.name}/images_png/{number}")
            number += 1
    return {split: sorted(keys) for split, keys in written.items()}


def write_potsdam(
    root: Path, counts: Counts = None, *, size: Size = (96, 96), seed: int = 0
) -> dict[str, list[str]]:
    """`2_Ortho_RGB/top_potsdam_2_10_RGB.tif`, `3_Ortho_IRRG`,
    `5_Labels_all/top_potsdam_2_10_label.tif` and eroded ones.

    Labels are RGB. Returns the keys of the RGB images by split.
    """
    written: dict[str, list[str]] = {}
    for split, tile, image, raw in _draw_tiles("potsdam", POTSDAM, counts, size, seed):
        for bands, folder in BANDS.items():
            shown = image if bands == "rgb" else image[..., [1, 0, 2]]  # vegetation is bright in the infrared
            save(shown, root / folder / f"top_potsdam_{tile}_{bands.upper()}.tif")
        save(_colours(raw), root / "5_Labels_all" / f"top_potsdam_{tile}_label.tif")
        save(_eroded(raw), root / "5_Labels_all_noBoundary" / f"top_potsdam_{tile}_label_noBoundary.tif")
        written.setdefault(split, []).append(f"top_potsdam_{tile}_RGB")
    return {split: sorted(keys) for split, keys in written.items()}


def write_vaihingen(
    root: Path, counts: Counts = None, *, size: Size = (96, 96), seed: int = 0
) -> dict[str, list[str]]:
    """`top/top_mosaic_09cm_area1.tif` and labels of the same name in
    `..._ground_truth_COMPLETE`, and eroded ones.

    Labels are RGB. Returns the keys by split.
    """
    truth = "ISPRS_semantic_labeling_Vaihingen_ground_truth"
    written: dict[str, list[str]] = {}
    for split, area, image, raw in _draw_tiles("vaihingen", VAIHINGEN, counts, size, seed):
        name = f"top_mosaic_09cm_area{area}"
        save(image[..., [1, 0, 2]], root / "top" / f"{name}.tif")
        save(_colours(raw), root / f"{truth}_COMPLETE" / f"{name}.tif")
        save(_eroded(raw), root / f"{truth}_eroded_COMPLETE" / f"{name}_noBoundary.tif")
        written.setdefault(split, []).append(name)
    return {split: sorted(keys) for split, keys in written.items()}


def _draw_tiles(
    dataset: str, tiles: Mapping[str, Sequence[object]], counts: Counts, size: Size, seed: int
) -> Iterator[tuple[str, object, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(split, tile, image, raw ids) of each tile. ConfigError for more than the data set has."""
    for part, (split, count) in enumerate(count_splits(counts).items()):
        if count > len(tiles[split]):
            raise ConfigError(f"{dataset} has {len(tiles[split])} tiles in {split}, {count} were asked for")
        rng = np.random.default_rng([seed, 19, part])
        labels = draw_labels(rng, [size] * count, list(IDS.values()), (0,))
        for tile, raw in zip(tiles[split], labels, strict=False):
            yield split, tile, draw_image(rng, raw, IDS, (0.7, 0.8, 0.7), ISPRS_COLOURS), raw


def _colours(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label RGB."""
    return np.array(list(ISPRS_COLOURS.values()), np.uint8)[raw]


def _eroded(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label RGB, black where regions meet."""
    kernel = np.ones((3, 3), np.uint8)
    inside = cv2.dilate(raw, kernel) == cv2.erode(raw, kernel)
    return np.where(inside[..., None], _colours(raw), np.uint8(0))
