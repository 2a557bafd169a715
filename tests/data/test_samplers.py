"""The order of the images."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from udacore.config.schema import SamplerConfig
from udacore.data.randomness import StreamKey
from udacore.data.samplers import (
    Wanted,
    class_balanced_list,
    class_balanced_sub_epochs,
    make_sampler,
    rare_class_probability,
    rare_file_probability,
    wanted_at,
)
from udacore.data.statistics import ClassStatistics
from udacore.errors import ConfigError, DataError

KEY = StreamKey(seed=1, round="adapt", domain="source")
PIXELS = np.array([[900, 0, 0], [900, 10, 0], [900, 0, 5000], [900, 4000, 0], [900, 10, 0]], np.int64)


def sampler(name: str, key: StreamKey = KEY, count: int = 5, **choices: Any) -> Any:
    config = SamplerConfig(name=name, **choices)  # type: ignore[arg-type]
    return make_sampler(config, count, ClassStatistics(pixels=PIXELS), key)


def reference_list(presence: NDArray[np.bool_], seed: int, count: int) -> list[int]:
    """The published program, with numpy's own `choice` in place of the draw from cumulated probabilities."""
    random = np.random.RandomState(seed)
    classes = presence.shape[1]
    files: list[list[int]] = [np.flatnonzero(presence[:, k]).tolist() for k in range(classes)]
    pointer, result = [0] * classes, []
    for _ in range(count // 3000 + 1):
        seen = np.zeros(classes)
        for _ in range(3000):
            share = seen / seen.sum() if seen.sum() else seen
            weight = 1 / np.log(1 + 0.01 + share)
            c = int(random.choice(classes, p=weight / weight.sum()))
            if pointer[c] > len(files[c]) - 1:
                random.shuffle(files[c])
                pointer[c] = pointer[c] % (len(files[c]) - 1)
            result.append(files[c][pointer[c]])
            pointer[c] += 1
            seen[presence[result[-1]]] += 1
    return result


@pytest.mark.parametrize("name", ["shuffle", "replacement", "class_balanced", "rare_class"])
def test_access_is_random_and_repeats(name: str) -> None:
    choices: dict[str, Any] = {"sub_epoch": 7, "temperature": 0.5}
    forwards, backwards = sampler(name, **choices), sampler(name, **choices)
    order = [forwards(position) for position in range(40)]
    assert order[::-1] == [backwards(position) for position in reversed(range(40))]
    assert set(order) <= set(range(5))
    for other in (StreamKey(seed=2, round="adapt", domain="source"), StreamKey(seed=1, round="x", domain="source")):
        assert order != [sampler(name, other, **choices)(position) for position in range(40)]


def test_no_sampler_touches_the_global_generator() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    for name in ("shuffle", "replacement", "class_balanced", "rare_class"):
        sampler(name, sub_epoch=5)(12)
    assert before == np.random.get_state()[1].tolist()  # type: ignore[index]


def test_shuffle_shows_each_image_once_an_epoch_in_changing_order() -> None:
    draw = sampler("shuffle", count=20)
    epochs = [[draw(20 * epoch + place) for place in range(20)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_replacement_draws_evenly_and_repeats_images() -> None:
    draw = sampler("replacement", count=4)
    counts = Counter(draw(position) for position in range(4000))
    assert all(900 < counts[index] < 1100 for index in range(4))
    assert any(draw(position) == draw(position + 1) for position in range(40))


def test_the_class_balanced_list_is_the_published_one() -> None:
    presence = np.random.default_rng(3).random((30, 6)) < np.array([0.9, 0.8, 0.5, 0.3, 0.2, 0.1])
    presence[:, 5] = False
    presence[[3, 4], 5] = True
    for seed in (0, 5):
        assert class_balanced_list(presence, seed, 3100).tolist() == reference_list(presence, seed, 3100)


def test_rare_classes_come_up_far_more_often_than_files_hold_them() -> None:
    presence = np.ones((100, 2), np.bool_)
    presence[5:, 1] = False
    files = class_balanced_list(presence, 0, 0)
    assert np.isin(files, range(5)).mean() > 0.3


def test_a_class_with_one_file_starts_over_and_one_without_is_never_drawn() -> None:
    presence = np.array([[True, False, False], [True, True, False], [True, False, False]])
    (stretch,) = islice(class_balanced_sub_epochs(presence, 0, 200), 1)
    assert set(stretch.files[stretch.classes == 1]) == {1}
    assert (stretch.probability[:, 2] == 0).all()
    assert set(stretch.classes) == {0, 1}
    assert np.allclose(stretch.probability.sum(axis=1), 1)


def test_the_stream_shuffles_within_each_sub_epoch_of_the_list() -> None:
    draw = sampler("class_balanced", sub_epoch=50)
    reference = [stretch.files for stretch in islice(class_balanced_sub_epochs(PIXELS > 0, KEY.legacy_seed("class_balanced"), 50), 2)]
    for number, files in enumerate(reference):
        drawn = [draw(50 * number + place) for place in range(50)]
        assert sorted(drawn) == sorted(files)
        assert drawn != files.tolist()


def test_labels_without_any_class_are_an_error() -> None:
    with pytest.raises(DataError, match="no label holds a pixel of any class"):
        next(class_balanced_sub_epochs(np.zeros((3, 2), np.bool_), 0))


def test_rare_class_probability_is_a_softmax_of_the_missing_share() -> None:
    probability = rare_class_probability(np.array([[60, 40, 0]]), 0.1, np.array([True, True, False]))
    assert probability[1] / probability[0] == pytest.approx(np.exp((0.6 - 0.4) / 0.1))
    assert probability[2] == 0
    assert probability.sum() == pytest.approx(1)


def test_rare_class_takes_only_images_with_enough_pixels() -> None:
    draw = sampler("rare_class", temperature=0.5)
    counts = Counter(draw(position) for position in range(300))
    assert set(counts) == {2, 3}
    assert counts[3] > 100 < counts[2]
    with pytest.raises(ConfigError, match=r"source.sampler.min_pixels: no image holds 9000 pixels of one class; possible: at most 5000"):
        sampler("rare_class", min_pixels=9000)


def test_with_a_ratio_an_image_must_hold_more_than_min_pixels() -> None:
    exact = {"min_pixels": 4000, "temperature": 0.5}
    assert {sampler("rare_class", **exact)(position) for position in range(60)} == {2, 3}
    assert {sampler("rare_class", min_crop_ratio=0.0, **exact)(position) for position in range(60)} == {2}
    with pytest.raises(ConfigError, match=r"source.sampler.min_pixels: no image holds more than 5000 pixels of one class; possible: at most 4999"):
        sampler("rare_class", min_pixels=5000, min_crop_ratio=0.5)


def test_what_a_sample_must_hold_is_the_class_that_was_drawn() -> None:
    draw = sampler("rare_class", min_pixels=800, min_crop_ratio=0.5, temperature=0.3)
    plain = sampler("rare_class", min_pixels=801, temperature=0.3)
    for position in range(50):
        wanted = wanted_at(draw, position)
        assert wanted is not None
        assert wanted.pixels == 400
        assert PIXELS[draw(position), wanted.number] > 800
        assert draw(position) == plain(position)
        assert wanted_at(plain, position) is None
    assert wanted_at(sampler("rare_class", min_crop_ratio=0.0), 0) is None
    assert wanted_at(sampler("shuffle"), 0) is None
    label = np.array([[1, 1, 1, 0, 255]], np.uint8)
    assert [Wanted(1, 2).is_in(label), Wanted(1, 2.5).is_in(label), Wanted(1, 3).is_in(label)] == [True, True, False]


def test_files_come_as_often_as_their_probability_says() -> None:
    choices = {"min_pixels": 800, "temperature": 0.3}
    probability = rare_file_probability(PIXELS, choices["temperature"], 800)
    assert probability.sum() == pytest.approx(1)
    draw = sampler("rare_class", min_crop_ratio=0.5, **choices)
    counts = np.bincount([draw(position) for position in range(4000)], minlength=5)
    assert np.abs(counts / 4000 - probability).max() < 0.03


def test_labels_of_ignored_pixels_have_no_rare_class() -> None:
    empty = ClassStatistics(pixels=np.zeros((3, 4), np.int64))
    for ratio in (None, 0.5):
        with pytest.raises(DataError, match="source: no label holds a pixel of any class, so rare_class has nothing to draw"):
            make_sampler(SamplerConfig(name="rare_class", min_crop_ratio=ratio), 3, empty, KEY)
    with pytest.raises(DataError, match="no label holds more than 5 pixels of one class"):
        rare_file_probability(empty.pixels, 0.1, 5)


def test_a_sampler_that_needs_labels_says_so() -> None:
    with pytest.raises(ConfigError, match=r"source.sampler.name: rare_class needs labels, and there are none; possible: shuffle"):
        make_sampler(SamplerConfig(name="rare_class"), 5, None, KEY)
    with pytest.raises(DataError, match="source: there is no image to draw from"):
        make_sampler(SamplerConfig(), 0, None, KEY)
