"""Operations on data as the reference vectors in `vectors` know them: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

from udacore.config.schema import MarginConfig, PixelConfig
from udacore.config.transforms import Crop, Flip, ResizeWithin
from udacore.data import samplers
from udacore.data.colour import normalize
from udacore.data.randomness import redraw
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


def rare_class_probability(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    pixels = inputs["counts"]
    total = pixels.sum(0)
    probability = samplers.rare_class_probability(pixels, params["temperature"], total > 0)
    order = [number for number in np.argsort(total, kind="stable") if total[number] > 0]
    return {"classes": np.array(order), "probability": probability[order]}


def rare_file_probability(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    return {"probability": samplers.rare_file_probability(inputs["counts"], params["temperature"], params["min_pixels"])}


def rare_class_draws(inputs: Arrays, params: dict[str, Any]) -> Arrays:
    """The draws of the published program, from numpy's legacy generator, by the parts of our sampler."""
    random = np.random.RandomState(params["seed"])
    files = samplers.rich_files(inputs["counts"], params["min_pixels"])
    classes, probability = rare_class_probability(inputs, params).values()
    rows = []
    for _ in range(params["draws"]):
        number = int(classes[samplers.draw_class(probability, random.random_sample())])
        file = int(files[number][random.randint(len(files[number]))])
        crops, wanted = inputs["crops"][file], samplers.Wanted(number, params["min_pixels"] * params["min_crop_ratio"])
        crop = redraw(iter(range(len(crops))).__next__, lambda place: wanted.is_in(crops[place]))  # noqa: B023
        rows.append((number, file, crop, random.randint(params["targets"])))
    return dict(zip(("class", "file", "crop", "target"), np.array(rows).T, strict=True))


OPS = {
    "transform": transform, "rare_class_probability": rare_class_probability, "rare_file_probability": rare_file_probability,
    "rare_class_draws": rare_class_draws,
}  # fmt: skip
