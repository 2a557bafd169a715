"""Operations on data as the reference vectors in `vectors` know them: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from udacore.config.schema import MarginConfig, PixelConfig
from udacore.config.transforms import Crop, Flip, ResizeWithin
from udacore.data.colour import normalize
from udacore.data.sidecars import margin_mask as mask_of
from udacore.data.transforms import Sample, apply_transforms

Arrays = dict[str, np.ndarray]

MEAN_COLOUR = (124, 116, 104)


class Draws:
    """Gives the random numbers that the published program drew."""

    def __init__(self, draws: dict[str, list[Any]]) -> None:
        self.whole, self.shares = list(draws["randint"]), list(draws["rand"])

    def random(self) -> float:
        return float(self.shares.pop(0))

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        number = int(self.whole.pop(0))
        assert endpoint
        assert low <= number <= high
        return number


def margin_mask(size: tuple[int, int], margins: list[int]) -> np.ndarray:
    top, bottom, left, right = margins
    return mask_of(size, MarginConfig(top=top, bottom=bottom, left=left, right=right))


def transform(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    share = params["cat_max_ratio"]
    steps = {
        "resize_within": ResizeWithin(size=tuple(params["scale"])),
        "crop": Crop(size=tuple(params["crop"][::-1]), pad="end", fill=MEAN_COLOUR, max_share=share if share < 1 else None),
        "flip": Flip(),
    }
    draws: Any = Draws(params["draws"])
    extra = {"valid": margin_mask(inputs["image"].shape[:2], params["margins"])} if "margins" in params else {}
    sample = apply_transforms(Sample(image=inputs["image"], label=inputs.get("label"), extra=extra), steps, draws)
    assert not draws.whole
    assert not draws.shares
    result = {"image": normalize(sample.image, PixelConfig())}
    if sample.label is not None:
        result["label"] = sample.label.astype(np.int64)
    for name, mask in sample.extra.items():
        assert sample.valid is None or not mask[~sample.valid].any()
        # The published program pads its masks with 255.
        result[name] = np.where(True if sample.valid is None else sample.valid, mask, np.uint8(255))
    return result


OPS = {"transform": transform}
