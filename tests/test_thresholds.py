"""Streamed thresholds against sorting all confidences: equal to the last bit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from udacore.thresholds import ThresholdCounter, apply_thresholds, find_thresholds

Pictures = list[tuple[Tensor, Tensor]]


def sorted_thresholds(pictures: Pictures, counter: ThresholdCounter) -> np.ndarray:
    """The definition: collect, sort, take the element of rank k, cap."""
    confidence = np.concatenate([c.numpy().ravel() for c, _ in pictures])
    prediction = np.concatenate([p.numpy().ravel() for _, p in pictures])
    kind = np.float32 if counter.dtype == torch.float32 else np.float64
    result = np.zeros(counter.num_classes, dtype=kind)
    for c in range(counter.num_classes):
        values = np.sort(confidence[prediction == c])
        if len(values):
            k = min(int(np.round(len(values) * counter.percent)), len(values) - 1)
            result[c] = min(kind(values[k]), kind(counter.cap))
    return result


def random_pictures(seed: int, *, ties: bool = False, power: float = 1.0, pictures: int = 3, kind: torch.dtype = torch.float32) -> Pictures:
    """Images of odd and unequal size, seven classes: 5 never predicted, 6 at one
    pixel, some predictions ignored."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for n in range(pictures):
        shape = (1, 33 + n, 49)
        confidence = torch.rand(shape, generator=generator, dtype=kind) ** power
        if ties:
            confidence = (confidence * 20).round() / 20
        prediction = torch.randint(0, 5, shape, generator=generator)
        prediction[torch.rand(shape, generator=generator) < 0.1] = 255
        result.append((confidence, prediction))
    result[-1][1][0, 7, 7] = 6
    return result


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("percent", "cap"), [(0.6, 0.9), (0.5, 0.9), (0.5, 1.0), (0.0, 0.9), (1.0, 1.0), (0.99, 0.25)])
def test_thresholds_equal_those_by_sorting(kind: torch.dtype, precision, percent: float, cap: float) -> None:
    for seed in range(3):
        pictures = random_pictures(seed, ties=seed % 2 == 1, power=(1.0, 0.05, 4.0)[seed], kind=kind)
        counter = ThresholdCounter(7, percent, cap, precision)
        got = find_thresholds(counter, lambda pictures=pictures: pictures)
        want = sorted_thresholds(pictures, counter)
        assert got.numpy().dtype == want.dtype
        np.testing.assert_array_equal(got.numpy(), want)
        assert counter.pixels.tolist() == [sum(int((p == c).sum()) for _, p in pictures) for c in range(7)]


def test_neighbouring_float32_values_are_told_apart() -> None:
    values = np.float32(0.7) + np.arange(-50, 50, dtype=np.float32) * np.spacing(np.float32(0.7))
    pictures = [(torch.from_numpy(np.random.default_rng(0).permutation(values)), torch.zeros(100, dtype=torch.int64))]
    for percent in (0.01, 0.33, 0.5, 0.98):
        counter = ThresholdCounter(1, percent)
        assert find_thresholds(counter, lambda: pictures).item() == values[round(100 * percent)]


def test_neighbouring_float64_values_are_told_apart() -> None:
    values = np.float64(0.7) + np.arange(-50, 50) * np.spacing(np.float64(0.7))
    pictures = [(torch.from_numpy(np.random.default_rng(0).permutation(values)), torch.zeros(100, dtype=torch.int64))]
    for percent in (0.01, 0.33, 0.5, 0.98):
        found = find_thresholds(ThresholdCounter(1, percent, precision="float64"), lambda: pictures)
        assert found.dtype == torch.float64
        assert found.item() == values[round(100 * percent)]


def test_labels_of_float64_are_those_by_sorting() -> None:
    pictures = random_pictures(3, kind=torch.float64)
    counter = ThresholdCounter(7, 0.5, 0.9, "float64")
    want = sorted_thresholds(pictures, counter)
    found = find_thresholds(counter, lambda: pictures)
    for confidence, prediction in pictures:
        label = apply_thresholds(confidence, prediction.clamp(max=6), found).numpy()
        np.testing.assert_array_equal(label == 255, confidence.numpy() < want[prediction.clamp(max=6).numpy()])


def test_a_float64_just_below_the_cap_is_dropped_and_one_at_the_cap_is_kept() -> None:
    below, prediction = float(np.nextafter(0.9, 0)), torch.zeros(4, dtype=torch.int64)
    confidence = torch.tensor([below, 0.9, 0.95, 0.96], dtype=torch.float64)
    thresholds = find_thresholds(ThresholdCounter(1, 0.5, 0.9, "float64"), lambda: [(confidence, prediction)])
    assert apply_thresholds(confidence, prediction, thresholds).tolist() == [255, 0, 0, 0]
    assert find_thresholds(ThresholdCounter(1, 0.0, 0.9, "float64"), lambda: [(confidence, prediction)]).tolist() == [below]


def test_confidences_of_two_dtypes_are_refused_where_they_would_not_be_exact() -> None:
    counter = ThresholdCounter(7, 0.5, precision="float64")
    counter.update(*random_pictures(0)[0])
    with pytest.raises(TypeError, match=r"they were torch\.float32 first and are torch\.float64 now"):
        counter.update(*random_pictures(0, kind=torch.float64)[0])


class Ranks:
    """Two ranks in two threads, in place of two processes: `all_sum` waits for both."""

    def __init__(self) -> None:
        self.barrier, self.parts = threading.Barrier(2, timeout=20), {}

    def all_sum(self, x: Tensor) -> Tensor:
        self.parts[threading.get_ident()] = x
        self.barrier.wait()
        total = torch.stack(list(self.parts.values())).sum(0)
        self.barrier.wait()
        return total


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("first", [0, 1])
def test_two_ranks_find_the_thresholds_of_all_images_even_if_one_has_none(kind, precision, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udacore.thresholds.ranks.all_sum", Ranks().all_sum)
    pictures = random_pictures(5, kind=kind)
    counters = [ThresholdCounter(7, 0.5, 0.9, precision) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        shares = (pictures[:first], pictures[first:])
        found = list(pool.map(lambda counter, share: find_thresholds(counter, lambda: share), counters, shares))
    want = sorted_thresholds(pictures, counters[0])
    assert all(np.array_equal(each.numpy(), want) for each in found)


def test_halves_are_rounded_to_even_and_the_rank_stays_inside() -> None:
    for size, rank in ((1, 0), (2, 1), (3, 2), (5, 2), (7, 4)):
        values = torch.arange(1, size + 1) / 16
        counter = ThresholdCounter(1, 0.5)
        assert find_thresholds(counter, lambda values=values: [(values, torch.zeros(len(values), dtype=torch.int64))]) == values[rank]
    counter = ThresholdCounter(1, 0.6)
    assert find_thresholds(counter, lambda: [(torch.tensor([0.25]), torch.tensor([0]))]) == 0.25


def test_one_pass_is_enough_where_every_class_reaches_the_cap() -> None:
    pictures = [(0.9 + 0.1 * torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 9, 9, dtype=torch.int64))]
    passes = []
    counter = ThresholdCounter(3, 0.6)
    thresholds = find_thresholds(counter, lambda: passes.append(1) or pictures)
    assert len(passes) == 1
    assert thresholds.tolist() == [np.float32(0.9), 0, 0]


def test_a_confidence_of_float32_at_the_cap_is_kept_in_float32_and_dropped_in_float64() -> None:
    confidence, prediction = torch.tensor([0.9, 0.95, 0.96, 0.97]), torch.tensor([0, 0, 0, 0])
    kept = {}
    for precision in ("float32", "float64"):
        counter = ThresholdCounter(1, 0.5, 0.9, precision)
        thresholds = find_thresholds(counter, lambda: [(confidence, prediction)])
        kept[precision] = apply_thresholds(confidence, prediction, thresholds).tolist()
    assert kept == {"float32": [0, 0, 0, 0], "float64": [255, 0, 0, 0]}


def test_a_pixel_at_its_threshold_stays_and_one_below_is_ignored() -> None:
    confidence = torch.tensor([[0.5, 0.6, 0.7, 0.2]])
    labels = apply_thresholds(confidence, torch.tensor([[0, 0, 0, 1]]), torch.tensor([0.6, 0.0]))
    assert labels.dtype == torch.uint8
    assert labels.tolist() == [[255, 0, 0, 1]]


@pytest.mark.parametrize(("kind", "passes"), [(torch.float32, 2), (torch.float64, 4)])
def test_memory_does_not_grow_with_the_images(kind: torch.dtype, passes: int) -> None:
    counter = ThresholdCounter(7, 0.5, precision="float64")
    sizes = []
    for number in range(passes):
        for confidence, prediction in random_pictures(0, pictures=4, kind=kind):
            counter.update(confidence, prediction)
            sizes.append(sum(x.numel() for x in vars(counter).values() if isinstance(x, Tensor)))
        assert counter.next_pass() is (number < passes - 1)
    assert len(set(sizes)) == 2


def test_thresholds_are_refused_before_the_passes_are_over() -> None:
    counter = ThresholdCounter(7, 0.5)
    counter.update(*random_pictures(0)[0])
    with pytest.raises(RuntimeError, match="before next_pass"):
        counter.thresholds()
    assert counter.next_pass()
    with pytest.raises(RuntimeError, match="before next_pass"):
        counter.thresholds()


@pytest.mark.parametrize(("percent", "cap"), [(60, 0.9), (0.6, 90)])
def test_percentages_are_refused(percent: float, cap: float) -> None:
    with pytest.raises(ValueError, match="must lie in 0"):
        ThresholdCounter(7, percent, cap)
