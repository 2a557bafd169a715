"""Sizes within a bound, OpenCV's rules of resizing, and windows that hold more than one class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from udacore.config import transforms as settings
from udacore.config.schema import PixelConfig, SourceConfig, TargetConfig
from udacore.data.geometry import resize, resize_image, resize_label, size_within
from udacore.data.loading import pass_batches, stream_batches
from udacore.data.transforms import Sample, apply_transforms, is_mixed
from udacore.errors import ConfigError
from udacore.labels import get_label_space

RNG = np.random.default_rng
OPENCV: Any = "opencv"


def test_a_size_within_a_bound_keeps_the_aspect_and_is_rounded() -> None:
    for have, bound, want in (
        ((1914, 1052), (1280, 720), (1280, 704)), ((1914, 1052), (2560, 1440), (2560, 1407)), ((2048, 1024), (1024, 512), (1024, 512)),
        ((1052, 1914), (1280, 720), (704, 1280)), ((1280, 760), (720, 1280), (1213, 720)), ((9000, 1), (100, 100), (100, 1)),
    ):  # fmt: skip
        assert size_within(have, bound) == want


def test_opencv_takes_the_four_nearest_pixels_and_labels_from_the_pixel_at_the_floor() -> None:
    image = RNG(0).integers(0, 256, (8, 12, 3), np.uint8)
    half = resize_image(image, (6, 4), OPENCV)
    blocks = image.reshape(4, 2, 6, 2, 3).astype(np.float64).mean((1, 3))
    assert np.abs(half - blocks).max() <= 0.5
    assert np.abs(half.astype(int) - resize_image(image, (6, 4), "bilinear")).max() > 3  # Pillow looks at more pixels
    label = RNG(1).integers(0, 19, (9, 13), np.uint8)
    rows, columns = np.arange(7) * 9 // 7, np.arange(20) * 13 // 20
    for given in (label, label > 9, label.astype(np.float32) / 3):
        found = resize_label(given, (20, 7), OPENCV)
        assert found.dtype == given.dtype
        assert np.array_equal(found, given[np.ix_(rows, columns)])
    assert not np.array_equal(resize_label(label, (20, 7)), resize_label(label, (20, 7), OPENCV))


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_opencv_resizes_each_channel_of_any_number_alike(channels: int) -> None:
    image = RNG(0).random((8, 12, channels), np.float32) * 65535
    half = resize_image(image, (6, 4), OPENCV)
    assert half.shape == (4, 6, channels)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, image.reshape(4, 2, 6, 2, channels).mean((1, 3)), rtol=1e-5)


@pytest.mark.parametrize("step", [settings.Resize, settings.ResizeWithin])
def test_all_maps_of_an_image_are_resized_by_one_rule(step: Any) -> None:
    image, label = RNG(0).integers(0, 256, (18, 27, 3), np.uint8), RNG(1).integers(0, 19, (18, 27), np.uint8)
    sample = Sample(image=image, label=label, valid=label > 9, extra={"ids": label, "depth": label.astype(np.float32), "other": image})
    found = apply_transforms(sample, {"a": step(size=(15, 10), interpolation="opencv")}, RNG(0))
    size = (15, 10)
    wanted = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(found.image, cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))
    assert found.label is not None
    assert found.valid is not None
    for plane in (found.label, found.extra["ids"], found.extra["depth"]):
        assert np.array_equal(plane, wanted)
    assert np.array_equal(found.valid, wanted > 9)
    assert np.array_equal(found.extra["other"], found.image)


def test_a_pass_at_a_rounds_end_sees_images_within_the_bound(make_table: Callable[..., Any]) -> None:
    table = make_table(count=4, height=12, width=20, growing=True)
    steps = {"resize_within": settings.ResizeWithin(size=(10, 9)), "crop": settings.Crop(size=(4, 4))}
    batches = list(pass_batches(table, steps, PixelConfig(), batch=2))
    assert [(tuple(batch.image.shape), batch.size[0]) for batch in batches] == [((2, 3, 6, 10), (12, 20)), ((2, 3, 7, 10), (13, 20))]
    _, label = resize(table.read_image(0), table.read_label(0), (10, 6), OPENCV)
    assert label is not None
    assert batches[0].label is not None
    assert np.array_equal(batches[0].label[0].numpy(), label)


def test_mixed_labels_hold_two_classes_and_none_with_the_given_share() -> None:
    for ids, share, want in (
        ([1, 1, 1, 2], 0.75, False), ([1, 1, 1, 2], 0.76, True), ([1, 1, 2, 255, 255], 0.7, True), ([4, 4], 1.0, False), ([255, 255], 1.0, False),
    ):  # fmt: skip
        assert is_mixed(np.array([ids], np.uint8), share) is want


def windows(label: Any, seed: int, **choices: Any) -> Sample:
    image = np.repeat(np.arange(label.shape[1], dtype=np.uint8)[None, :, None], label.shape[0], 0).repeat(3, 2)
    return apply_transforms(Sample(image=image, label=label), {"crop": settings.Crop(size=(8, 4), **choices)}, RNG(seed))


def test_windows_of_one_class_are_drawn_again() -> None:
    label = np.zeros((4, 64), np.uint8)
    label[:, 30:34] = 1  # seven of 57 windows hold three of its columns or four
    plain = [windows(label, seed).label for seed in range(80)]
    chosen = [windows(label, seed, max_share=0.75) for seed in range(80)]
    assert sum(is_mixed(each, 0.75) for each in plain if each is not None) < 20
    assert sum(is_mixed(each.label, 0.75) for each in chosen if each.label is not None) > 50
    for each in chosen:
        assert each.label is not None
        assert np.array_equal(each.label[0] == 1, (each.image[0, :, 0] >= 30) & (each.image[0, :, 0] < 34))


def test_after_ten_new_draws_the_last_window_is_taken_unseen() -> None:
    label = np.full((4, 200), 255, np.uint8)  # nothing but ignored pixels: no window will do
    for seed in range(3):
        rng = RNG(seed)
        corners = [(int(rng.integers(0, 0, endpoint=True)), int(rng.integers(0, 192, endpoint=True))) for _ in range(11)]
        found = windows(label, seed, max_share=0.75)
        assert found.image[0, 0, 0] == corners[-1][1]
        assert found.label is not None
        assert found.label.shape == (4, 8)


def test_an_image_smaller_than_the_window_is_not_drawn_again() -> None:
    found = windows(np.zeros((2, 8), np.uint8), 0, max_share=0.5, pad="end")
    assert found.valid is not None
    assert found.valid.tolist() == [[True] * 8] * 2 + [[False] * 8] * 2


def test_a_share_needs_labels(make_table: Callable[..., Any]) -> None:
    steps = {"crop": settings.Crop(size=(6, 6), max_share=0.75)}
    arguments: dict[str, Any] = {"space": get_label_space("streets"), "seed": 1, "round": "a", "batch": 2, "steps": 2, "share": (0, 1)}
    with pytest.raises(ConfigError, match=r"target\.transform\.crop\.max_share needs labels, and there are none; possible: null"):
        next(stream_batches(make_table(has_labels=False), TargetConfig(transform=steps), PixelConfig(), domain="target", **arguments))
    streams = [
        list(stream_batches(make_table(), SourceConfig(transform=steps), PixelConfig(), domain="source", workers=workers, **arguments))
        for workers in (0, 2)
    ]
    for first, second in zip(*streams, strict=True):
        assert (first.image == second.image).all()
