"""From a file to the network's input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional

from udacore.config.schema import PixelConfig
from udacore.config.transforms import Blur, Crop, Flip, Grey, Jitter, Resize, ResizeShortSide, Rotate, Scale, StreetsJitter, Zoom
from udacore.data.colour import StreetsDraw, grey, jitter, normalize, streets_jitter
from udacore.data.geometry import gaussian_blur, pad_and_crop, resize, rotate_image, scaled_size, short_side_size
from udacore.data.transforms import Sample, apply_transforms, crop_offsets, fixed_size, image_interpolation, zoom

Picture = NDArray[np.uint8]


def picture(height: int = 20, width: int = 30) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def numbered(height: int = 20, width: int = 30) -> Sample:
    """An image whose red and green channels hold row and column, and whose label holds the column."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return Sample(image=np.stack([rows, columns, rows], axis=2), label=columns.copy())


def apply(sample: Sample, *steps: Any, seed: int = 0) -> Sample:
    return apply_transforms(sample, {str(number): step for number, step in enumerate(steps)}, np.random.default_rng(seed))


class Draws:
    """Gives the random numbers it is told to, and notes what was asked for."""

    def __init__(self, *numbers: float) -> None:
        self.numbers, self.asked = list(numbers), list[str]()

    def random(self) -> float:
        self.asked.append("random")
        return self.numbers.pop(0)

    def integers(self, low: int, high: int, endpoint: bool) -> int:
        assert endpoint
        self.asked.append(f"integer {low}..{high}")
        return int(self.numbers.pop(0))


def test_resize_takes_image_and_label_each_from_its_own_size() -> None:
    image, label = resize(picture(20, 30), np.arange(8, dtype=np.uint8).reshape(2, 4), (8, 4))
    assert image.shape == (4, 8, 3)
    assert label is not None
    assert label.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2 + [[4, 4, 5, 5, 6, 6, 7, 7]] * 2
    assert np.array_equal(image, np.asarray(Image.fromarray(picture(20, 30)).resize((8, 4), Image.Resampling.BICUBIC)))


def test_resize_of_a_float_image_agrees_with_that_of_bytes_without_rounding() -> None:
    image = picture()
    exact, _ = resize(image.astype(np.float32), None, (13, 9), "bilinear")
    assert exact.dtype == np.float32
    assert np.abs(exact - resize(image, None, (13, 9), "bilinear")[0]).max() <= 1


def test_scale_cuts_the_new_size_of_the_image_to_whole_pixels() -> None:
    assert scaled_size(picture(21, 33), 0.7) == (23, 14)
    sample = apply(numbered(21, 33), Scale(range=(0.7, 0.7)))
    assert sample.image.shape == (14, 23, 3)
    assert sample.label is not None
    assert sample.label.shape == (14, 23)


def test_the_short_side_keeps_the_aspect() -> None:
    assert short_side_size(picture(1052, 1914), 760) == (1382, 760)
    assert short_side_size(picture(30, 20), 10) == (10, 15)
    sample = apply(numbered(), ResizeShortSide(range=(10, 10)))
    assert sample.image.shape == (10, 15, 3)


@pytest.mark.parametrize(("pad", "offset", "origin"), [("both", (3, 1), (2, 3)), ("end", (0, 0), (0, 0)), ("centre", (0, 0), (2, 2))])
def test_padding_lies_where_its_rule_says(pad: Any, offset: tuple[int, int], origin: tuple[int, int]) -> None:
    window = pad_and_crop(numbered(5, 6).image, (10, 10), *offset, pad=pad, fill=(200, 200, 200))
    assert window.shape == (10, 10, 3)
    assert window[origin].tolist() == [0, 0, 0]
    assert window[origin[0] + 4, origin[1] + 5].tolist() == [4, 5, 4]
    assert (window != 200).all(axis=2).sum() == 30


def test_draws_come_in_the_published_order_and_only_where_there_is_a_choice() -> None:
    draws: Any = Draws(0.25, 3, 4, 0.4)
    steps = {"scale": Scale(range=(1.0, 2.0)), "crop": Crop(size=(20, 10)), "flip": Flip(probability=0.5)}
    sample = apply_transforms(numbered(), steps, draws)
    assert draws.asked == ["random", "integer 0..15", "integer 0..17", "random"]
    assert sample.image.shape == (10, 20, 3)
    assert crop_offsets((20, 10), (20, 10), Draws()) == (0, 0)  # type: ignore[arg-type]


def test_image_and_label_stay_together() -> None:
    for seed in range(5):
        sample = apply(numbered(), Crop(size=(12, 9)), Flip(probability=0.5), seed=seed)
        assert sample.label is not None
        assert np.array_equal(sample.image[:, :, 1], sample.label)
        assert sample.valid is None


def test_padding_becomes_ignore_and_not_valid_and_moves_with_later_steps() -> None:
    sample = apply(numbered(10, 10), Crop(size=(10, 20), pad="end", fill=(9, 9, 9)), Flip(probability=1), Resize(size=(5, 10)))
    assert sample.label is not None
    assert sample.valid is not None
    assert sample.valid.tolist() == [[True] * 5] * 5 + [[False] * 5] * 5
    assert (sample.label[5:] == 255).all()
    assert sample.label[0].tolist() == [8, 6, 4, 2, 0]


@pytest.mark.parametrize(("draw", "angle"), [(0.9, 8.0), (0.0, -10.0)])
def test_rotate_turns_by_pillow_and_marks_the_corners_that_come_in(draw: float, angle: float) -> None:
    image, label = picture(40, 60), np.full((40, 60), 7, np.uint8)
    step = Rotate(range=(-10, 10), fill=(123, 116, 103))
    draws: Any = Draws(draw)
    turned = apply_transforms(Sample(image=image, label=label), {"rotate": step}, draws)
    assert draws.asked == ["random"]
    corner = np.asarray(Image.fromarray(label).rotate(angle, Image.Resampling.NEAREST)) == 0
    assert turned.label is not None
    assert turned.valid is not None
    assert 0 < corner.sum() < corner.size / 4
    assert np.array_equal(turned.valid, ~corner)
    assert (turned.label == np.where(corner, 255, 7)).all()
    assert (turned.image[corner] == (123, 116, 103)).all()
    assert np.array_equal(turned.image[~corner], np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR))[~corner])
    floating = rotate_image(image.astype(np.float32), angle, "bilinear", (123, 116, 103))
    assert floating.dtype == np.float32
    assert np.abs(floating - turned.image).max() < 1  # Pillow cuts bytes off, it does not round


def test_rotate_counts_counter_clockwise_and_keeps_padding_not_valid() -> None:
    sample = Sample(image=np.zeros((21, 21, 3), np.uint8), label=np.zeros((21, 21), np.uint8))
    sample.image[10, 20] = sample.label[10, 20] = 9  # right of the centre
    up = apply(sample, Rotate(range=(90, 90)))
    assert (up.image[0, 10] == 9).all()
    assert up.label is not None
    assert up.label[0, 10] == 9
    assert up.valid is not None
    assert up.valid.all()
    padded = apply(sample, Crop(size=(25, 21), pad="end"), Rotate(range=(180, 180)))
    assert padded.valid is not None
    assert not padded.valid[:, :4].any()
    assert padded.valid[:, 4:].all()


def test_an_overlaid_label_of_another_size_ends_at_the_images_size() -> None:
    sample = Sample(image=picture(), label=np.zeros((10, 15), np.uint8))
    for step in (Crop(size=(8, 8)), Flip(probability=1), Rotate(), Zoom(), Jitter()):
        changed = apply(sample, step)
        assert changed.label is not None
        assert changed.label.shape == changed.image.shape[:2]


def test_zoom_keeps_the_size_and_hides_what_lies_outside() -> None:
    small = zoom(numbered(), 0.5, (0.0, 0.999), fill=118)
    assert small.image.shape == (20, 30, 3)
    assert small.valid is not None
    assert small.valid[:10, 15:].all()
    assert small.valid.sum() == 150
    assert (small.image[~small.valid] == 118).all()
    assert small.label is not None
    assert (small.label[~small.valid] == 255).all()
    large = zoom(numbered(), 2.0, (0.999, 0.0))
    assert large.valid is None
    assert large.label is not None
    assert large.label[0].tolist() == [column // 2 for column in range(30)]
    assert large.image[:, :, 0].min() >= 10


def test_jitter_is_torchvisions_in_the_given_order() -> None:
    image = picture()
    expected = functional.adjust_hue(functional.adjust_contrast(Image.fromarray(image), 0.7), -0.1)
    assert np.array_equal(jitter(image, [("contrast", 0.7), ("hue", -0.1)]), np.asarray(expected))
    assert np.array_equal(apply(Sample(image=image), Jitter(brightness=0, contrast=0, saturation=0, hue=0)).image, image)
    assert np.array_equal(apply(Sample(image=image), Jitter(probability=0)).image, image)


def test_jitter_draws_every_order_and_stays_in_range() -> None:
    class Noting(Draws):
        def uniform(self, low: float, high: float) -> float:
            self.asked.append(f"{low:g}..{high:g}")
            return 0.0

        def permutation(self, count: int) -> NDArray[np.int64]:
            self.asked.append(f"order of {count}")
            return np.arange(count)

    draws: Any = Noting(0.0)
    apply_transforms(Sample(image=picture()), {"jitter": Jitter(brightness=1.5, hue=0.2)}, draws)
    assert draws.asked == ["random", "0..2.5", "0.5..1.5", "0.5..1.5", "-0.2..0.2", "order of 4"]


def test_grey_is_pillows_luma_in_three_channels() -> None:
    image = picture()
    luma = np.asarray(Image.fromarray(image).convert("L"))
    assert all(np.array_equal(grey(image)[:, :, channel], luma) for channel in range(3))
    assert np.abs(grey(image.astype(np.float32)) - grey(image)).max() <= 1
    assert np.array_equal(apply(Sample(image=image), Grey(probability=1)).image, grey(image))


def test_blur_is_the_outer_product_with_reflected_borders() -> None:
    image, sigma = picture(), 0.8
    weights = np.exp(-np.array([1.0, 0.0, 1.0]) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), "reflect")
    expected = sum(weights[i] * weights[j] * padded[i : i + 20, j : j + 30] for i in range(3) for j in range(3))
    assert np.abs(gaussian_blur(image, sigma).astype(float) - expected).max() <= 0.501
    assert np.allclose(gaussian_blur(image.astype(np.float32), sigma), expected, atol=1e-3)
    assert apply(Sample(image=image), Blur()).image.dtype == np.uint8


def test_streets_jitter_follows_its_formulas_without_clipping() -> None:
    image = picture()
    plain: dict[str, Any] = {"gain": np.ones(3, np.float32), "offset": np.zeros(3, np.float32), "noise": np.zeros(image.shape, np.float32)}
    x = (image.astype(np.float64) - 118) / 60
    gain, offset = np.array([1.4, 0.6, 1.0], np.float32), np.array([0.5, -0.5, 0.0], np.float32)
    changed = streets_jitter(image, StreetsDraw(**plain | {"gain": gain, "offset": offset}, blend=0.0, blur=False))
    assert changed.dtype == np.float32
    assert np.allclose(changed, (x * gain + offset) * 60 + 118, atol=1e-3)
    assert changed.max() > 255
    assert changed.min() < 0
    mean = streets_jitter(image, StreetsDraw(**plain, blend=1.0, blur=False))
    assert np.allclose(mean, image.mean(axis=2, keepdims=True), atol=1e-3)


def test_streets_jitter_of_strength_zero_only_may_blur() -> None:
    image = picture()
    assert np.allclose(apply(Sample(image=image), StreetsJitter(strength=0, blur_probability=0)).image, image, atol=1e-3)
    blurred = apply(Sample(image=image), StreetsJitter(strength=0, blur_probability=1)).image
    mean = sum(image[i : i + 18, j : j + 28].astype(float) for i in range(3) for j in range(3)) / 9
    assert np.allclose(blurred[1:-1, 1:-1], mean, atol=1e-2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalize_follows_order_scale_mean_and_std(dtype: Any) -> None:
    image = picture().astype(dtype)
    rgb = normalize(image, PixelConfig())
    assert rgb.dtype == np.float32
    assert np.allclose(rgb[2], (image[:, :, 2] / 255 - 0.406) / 0.225, atol=1e-6)
    caffe = PixelConfig(order="bgr", scale=255, mean=(103.939, 116.779, 123.68), std=(1, 1, 1))
    assert np.allclose(normalize(image, caffe)[0], image[:, :, 2] - np.float32(103.939), atol=1e-4)


def test_the_same_generator_gives_the_same_sample() -> None:
    steps = (Zoom(), StreetsJitter(), Flip(), Blur(), Grey())
    first, second, other = (apply(numbered(), *steps, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.label, second.label)  # type: ignore[arg-type]
    assert not np.array_equal(first.image, other.image)


def test_passes_take_size_and_filter_from_the_resize_step() -> None:
    assert fixed_size({"flip": Flip(), "resize": Resize(size=(5, 4), interpolation="bilinear")}) == (5, 4)
    assert fixed_size({"scale": Scale(), "crop": Crop(size=(5, 4))}) is None
    assert image_interpolation({"resize": Resize(size=(5, 4), interpolation="bilinear")}) == "bilinear"
    assert image_interpolation({"scale": Scale(interpolation="bilinear")}) == "bilinear"
    assert image_interpolation({"flip": Flip()}) == "bicubic"
