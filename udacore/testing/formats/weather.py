"""Miniatures of ACDC and Dark Zurich: the same places in bad weather or at
night, and in fair weather by day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from udacore.labels import CITYSCAPES_IDS, CLASSES19
from udacore.testing.formats.patches import Counts, Size, count_splits, draw_image, draw_labels, save

_VOID = (0, 1, 2, 3, 4, 6, 9)
# what is left of an image under each condition, and the grey that is added
_LOOKS = {
    "fog": (0.3, 150.0),
    "night": (0.25, 0.0),
    "rain": (0.6, 30.0),
    "snow": (0.6, 90.0),
    "twilight": (0.5, 10.0),
    "day": (1.0, 0.0),
}


def write_acdc(
    root: Path, counts: Counts = None, *, size: Size = (128, 72), seed: int = 0
) -> dict[str, list[str]]:
    """`rgb_anon/<condition>/<split>/<sequence>/..._rgb_anon.png` and `gt/...`, and the same
    places in the splits `*_ref`.

    Returns the keys by split. The conditions take turns; `counts` is that of all conditions together.
    """
    written: dict[str, list[str]] = {}
    for number, (split, count) in enumerate(count_splits(counts).items()):
        rng = np.random.default_rng([seed, 11, number])
        labels = draw_labels(rng, [size] * count, [CITYSCAPES_IDS[name] for name in CLASSES19], _VOID)
        for index, raw in enumerate(labels):
            condition = ("fog", "night", "rain", "snow")[index % 4]
            clear = draw_image(rng, raw, CITYSCAPES_IDS, (0.8, 0.85, 0.8))
            for part, middle, shown in (("", "", _look(clear, condition)), ("_ref", "_ref", clear)):
                name = f"{condition}/{split}{part}/GOPR{400 + number:04d}/GOPR{400 + number:04d}_frame_{41 + index:06d}"
                save(shown, root / "rgb_anon" / f"{name}_rgb{middle}_anon.png")
                save(raw, root / "gt" / f"{name}_gt{middle}_labelIds.png")
                written.setdefault(split + part, []).append(f"{name}_rgb{middle}_anon")
    return {split: sorted(keys) for split, keys in written.items()}


def write_dark_zurich(
    root: Path, counts: Counts = None, *, size: Size = (128, 72), seed: int = 0
) -> dict[str, list[str]]:
    """`rgb_anon/<split>/<time>/<sequence>/..._rgb_anon.png`, labels of `val` in `gt`, and `val_ref` by day.

    Returns the keys by split. Times of day take turns in `train`; `val` is at night.
    """
    written: dict[str, list[str]] = {}
    for number, (split, count) in enumerate(count_splits(counts).items()):
        rng = np.random.default_rng([seed, 12, number])
        labels = draw_labels(rng, [size] * count, [CITYSCAPES_IDS[name] for name in CLASSES19], _VOID)
        for index, raw in enumerate(labels):
            time = "night" if split == "val" else ("night", "twilight", "day")[index % 3]
            clear = draw_image(rng, raw, CITYSCAPES_IDS, (0.8, 0.85, 0.8))
            sequence, frame = f"GOPR{351 + 5 * number:04d}", f"frame_{1 + index:06d}"
            names = {split: f"{split}/{time}/{sequence}/{sequence}_{frame}_rgb_anon"}
            save(_look(clear, time), root / "rgb_anon" / f"{names[split]}.png")
            if split == "val":
                names["val_ref"] = f"val_ref/day/{sequence}_ref/{sequence}_{frame}_ref_rgb_anon"
                save(clear, root / "rgb_anon" / f"{names['val_ref']}.png")
                save(raw, root / "gt" / f"{names['val'].removesuffix('_rgb_anon')}_gt_labelIds.png")
            for part, key in names.items():
                written.setdefault(part, []).append(key)
    return {split: sorted(keys) for split, keys in written.items()}


def _look(clear: NDArray[np.uint8], condition: str) -> NDArray[np.uint8]:
    """The image under a condition."""
    left, grey = _LOOKS[condition]
    return (clear * left + grey).astype(np.uint8)
