"""The embedded domains: the same bytes anywhere, labels exactly, every class present, and one-line errors."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

from udacore.data.streets import CLASSES, IGNORE, PAIRS, measure_affine, render
from udacore.data.streets.shift import Domain
from udacore.errors import ConfigError

DOMAINS: tuple[Domain, ...] = ("source", "target")

# (pair, domain): CRC of the labels of the first four training images, channel means of their images
RECORDED: dict[tuple[str, Domain], tuple[int, tuple[float, float, float]]] = {
    ("W", "source"): (2280657580, (118.6, 113.0, 114.7)),
    ("W", "target"): (4144954146, (115.1, 123.4, 101.2)),
    ("P", "source"): (2656421245, (118.6, 112.7, 114.0)),
    ("P", "target"): (2603476779, (111.7, 113.1, 98.8)),
    ("L", "source"): (2656421245, (118.6, 112.7, 114.0)),
    ("L", "target"): (1771914976, (117.6, 122.4, 111.2)),
}

PROBE = """
import zlib
from udacore.data.streets import render
for pair in "WPL":
    for domain in ("source", "target"):
        image, label = render(pair, domain, "train", 5, seed=3)
        print(pair, domain, zlib.crc32(image.tobytes()), zlib.crc32(label.tobytes()))
"""


def test_a_fresh_process_with_other_threads_draws_the_same_bytes() -> None:
    answers = set()
    for threads in ("1", "3"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENCV_FOR_THREADS_NUM": threads, "PYTHONHASHSEED": threads}
        done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
        answers.add(done.stdout)
    here = []
    for pair in "WPL":
        for domain in DOMAINS:
            image, label = render(pair, domain, "train", 5, seed=3)
            here.append(f"{pair} {domain} {zlib.crc32(image.tobytes())} {zlib.crc32(label.tobytes())}\n")
    assert answers == {"".join(here)}


@pytest.mark.parametrize(("pair", "domain"), RECORDED)
def test_labels_are_the_recorded_ones_and_images_nearly(pair: str, domain: Domain) -> None:
    images, labels = zip(*(render(pair, domain, "train", index) for index in range(4)), strict=True)
    crc, means = RECORDED[pair, domain]
    assert zlib.crc32(np.stack(labels).tobytes()) == crc
    np.testing.assert_allclose(np.stack(images).mean(axis=(0, 1, 2)), means, atol=0.5)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_every_class_occurs_and_hardly_a_pixel_is_ignored(domain: Domain, split: str) -> None:
    labels = np.stack([render("W", domain, split, index)[1] for index in range(60)])
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    assert (share[: len(CLASSES)] > 0.002).all()
    assert 0 < share[IGNORE] < 0.01
    assert share[: len(CLASSES)].sum() + share[IGNORE] == pytest.approx(1.0)


def test_domains_splits_indices_seeds_and_pairs_differ() -> None:
    drawn = [
        render("W", "source", "train", 0),
        render("W", "target", "train", 0),
        render("W", "source", "val", 0),
        render("W", "source", "train", 1),
        render("W", "source", "train", 0, seed=1),
        render("P", "source", "train", 0),
        render("P", "target", "train", 0),
        render("L", "target", "train", 0),
    ]
    assert len({image.tobytes() for image, _ in drawn}) == len(drawn)
    assert len({label.tobytes() for _, label in drawn}) == len(drawn)


@pytest.mark.parametrize("size", [(128, 64), (97, 51), (33, 70), (16, 16), (256, 128)])
def test_any_size_gives_an_rgb_image_and_its_label(size: tuple[int, int]) -> None:
    image, label = render("L", "target", "train", 2, size=size)
    assert image.shape == (size[1], size[0], 3)
    assert label.shape == (size[1], size[0])
    assert image.dtype == label.dtype == np.uint8


def test_a_larger_image_shows_the_same_street() -> None:
    _, small = render("W", "source", "train", 7)
    _, large = render("W", "source", "train", 7, size=(256, 128))
    assert (large[1::2, 1::2] == small).mean() > 0.9


def test_images_hold_the_sky_above_the_road() -> None:
    labels = np.stack([render("W", "source", "train", index)[1] for index in range(10)])
    rows = np.broadcast_to(np.arange(64)[:, None], labels.shape)
    assert rows[labels == CLASSES.index("sky")].max() < 36
    assert rows[labels == CLASSES.index("road")].min() > 24


def test_the_stored_affine_map_is_what_its_command_measures() -> None:
    gain, offset = measure_affine("W")
    np.testing.assert_allclose(gain, PAIRS["W"].gain, atol=0.01)
    np.testing.assert_allclose(offset, PAIRS["W"].offset, atol=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("w", "source", "train", 0), "streets: no pair 'w'; possible: W, P, L"),
        (("W", "targte", "train", 0), "streets: no domain 'targte'; did you mean 'target'?"),
        (("W", "source", "train", -1), "streets: index -1 and seed 0 must not be negative"),
    ],
)
def test_wrong_arguments_are_one_line_errors(arguments: tuple[str, Domain, str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render(*arguments)
    assert str(caught.value) == message


def test_a_size_that_shows_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="size 8 x 64 is too small"):
        render("W", "source", "train", 0, size=(8, 64))
