"""Miniatures of LoveDA."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from udacore.labels import LOVEDA_COLOURS
from udacore.testing.formats.patches import Counts, Size, count_splits, draw_image, draw_labels, save


def write_loveda(root: Path, counts: Counts = None, *, size: Size = (96, 96), seed: int = 0) -> dict[str, list[str]]:
    """`Train/{Urban,Rural}/images_png/0.png` and `masks_png/0.png`, and `Val` alike; returns the keys by split.

    Scenes take turns; `counts` is that of both together.
    """
    ids = {name: number for number, name in enumerate(LOVEDA_COLOURS, start=1)}
    written: dict[str, list[str]] = {}
    number = 0
    for part, (split, count) in enumerate(count_splits(counts).items()):
        rng = np.random.default_rng([seed, 18, part])
        for index, raw in enumerate(draw_labels(rng, [size] * count, list(ids.values()), (0,))):
            base = root / split.capitalize() / ("Urban", "Rural")[index % 2]
            save(draw_image(rng, raw, ids, (0.8, 0.8, 0.8), LOVEDA_COLOURS), base / "images_png" / f"{number}.png")
            save(raw, base / "masks_png" / f"{number}.png")
            written.setdefault(split, []).append(f"{base.name}/images_png/{number}")
            number += 1
    return {split: sorted(keys) for split, keys in written.items()}
