"""What a method sees of how its images are normalised."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from udacore import source_only
from udacore.config.schema import PixelConfig
from udacore.data.colour import normalize
from udacore.interface import Pixels
from udacore.testing.checks import Subject, Trial


@pytest.mark.parametrize(("order", "scale"), [("rgb", 1.0), ("bgr", 255.0)])
def test_colours_are_those_of_the_image_and_give_the_same_image_again(order: Literal["rgb", "bgr"], scale: float) -> None:
    mean, std = (0.4 * scale, 0.5 * scale, 0.6 * scale), (0.25, 0.5, 1.0)
    picture = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    image = torch.from_numpy(normalize(picture, PixelConfig(order=order, scale=scale, mean=mean, std=std)))
    pixels = Pixels(order=order, scale=scale, mean=mean, std=std)
    colours = pixels.colours(image[None])
    torch.testing.assert_close(colours[0], torch.from_numpy(picture).permute(2, 0, 1) / 255)
    torch.testing.assert_close(pixels.image(colours)[0], image)


def test_a_method_gets_the_numbers_of_its_round() -> None:
    trial = Trial(Subject(source_only, overrides=("rounds.adapt.pixels={order: bgr, scale: 255, mean: [1, 2, 3], std: [1, 1, 1]}",)))
    source, adapt = (stage.set_up().info.pixels for stage in trial.stages)
    assert (source.order, source.mean) == ("rgb", trial.stages[0].config.pixels.mean)
    assert adapt == Pixels(order="bgr", scale=255.0, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0))
