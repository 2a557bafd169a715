"""Samples drawn again until they hold enough of the class for which their image was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from udacore.cli import main
from udacore.config.quick import make_quick
from udacore.config.resolve import load_config
from udacore.config.schema import PixelConfig, SamplerConfig, SourceConfig
from udacore.config.transforms import Crop, Flip, Resize, Scale
from udacore.data.loading import draw_wanted, stream_batches
from udacore.data.samplers import Wanted
from udacore.data.transforms import Sample, apply_transforms
from udacore.errors import ConfigError
from udacore.labels import get_label_space

STEPS: dict[str, Any] = {"crop": Crop(size=(16, 16)), "flip": Flip()}
SMALL = [slice(28, 34), slice(30, 36)]


@attrs.frozen(kw_only=True)
class CornerTable:
    """Images of 64 x 64 of class 0, with 36 pixels of class 1; as `MemoryTable` it has no files."""

    count: int = 3
    has_labels: bool = True
    extras: dict[str, Any] = attrs.field(factory=dict)
    names: tuple[str, ...] = ("a", "b", "c")

    def __len__(self) -> int:
        return self.count

    def read_label(self, index: int) -> NDArray[np.uint8]:
        label = np.zeros((64, 64), np.uint8)
        label[tuple(SMALL)] = 1
        return label

    def read_pair(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        label = self.read_label(index)
        return np.repeat(label[:, :, None] * 200, 3, 2), label

    def source_hash(self) -> str:
        return "corner"


@pytest.fixture
def stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Batches of a stream over the corners; keywords change the sampler."""
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path))

    def stream(workers: int = 0, start: int = 0, **choices: Any) -> Any:
        sampler = SamplerConfig(name="rare_class", min_pixels=30, temperature=0.01, **choices)
        entry = SourceConfig(transform=STEPS, sampler=sampler)
        common: dict[str, Any] = {"space": get_label_space("streets"), "seed": 3, "round": "a", "domain": "source", "share": (0, 1)}
        table: Any = CornerTable()
        return list(stream_batches(table, entry, PixelConfig(), batch=4, steps=10, start=start, workers=workers, **common))

    return stream


def share(batches: list[Any], least: int) -> float:
    return float(np.mean([int((label == 1).sum()) > least for batch in batches for label in batch.label]))


def test_crops_that_hold_too_little_of_the_rare_class_are_drawn_again(stream: Callable[..., Any]) -> None:
    plain, chosen = stream(), stream(min_crop_ratio=0.1)
    assert share(plain, 3) < 0.35
    assert share(chosen, 3) > 0.6  # the last of eleven is taken unseen
    for batch in chosen:
        assert ((batch.image[:, 0] > 0.5) == (batch.label == 1)).all()


def test_neither_workers_nor_an_interruption_change_what_is_drawn_again(stream: Callable[..., Any]) -> None:
    first = stream(min_crop_ratio=0.1)
    for others, begin in ((stream(workers=2, min_crop_ratio=0.1), 0), (stream(start=4, min_crop_ratio=0.1), 4)):
        for one, other in zip(first[begin:], others, strict=True):
            assert (one.label == other.label).all()
            assert (one.image == other.image).all()


def test_a_ratio_of_0_draws_once(stream: Callable[..., Any]) -> None:
    for one, other in zip(stream(), stream(min_crop_ratio=0.0), strict=True):
        assert (one.image == other.image).all()


@pytest.mark.parametrize("first", [{}, {"resize": Resize(size=(48, 48), interpolation="opencv")}])
@pytest.mark.parametrize("later", [{"scale": Scale(), "crop": Crop(size=(30, 30)), "flip": Flip()}, {}])
def test_what_draws_nothing_is_done_once_to_the_same_end(first: dict[str, Any], later: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    image, label = rng.integers(0, 256, (64, 64, 3), np.uint8), rng.integers(0, 9, (32, 32), np.uint8)
    sample = Sample(image=image, label=label)
    once = apply_transforms(sample, first | later, np.random.default_rng(1))
    found = draw_wanted(sample, first | later, np.random.default_rng(1), Wanted(3, -1))
    assert np.array_equal(once.image, found.image)
    assert once.label is not None
    assert found.label is not None
    assert np.array_equal(once.label, found.label)
    rng = np.random.default_rng(1)
    for _ in range(11):
        last = apply_transforms(sample, first | later, rng)
    assert np.array_equal(draw_wanted(sample, first | later, np.random.default_rng(1), Wanted(3, 10**6)).image, last.image)


RARE = "source.sampler={name: rare_class, min_pixels: 100, min_crop_ratio: %s}"


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (RARE % "2.56", r"source.sampler.min_crop_ratio: asks for more than 256 pixels of a class, and a crop has 256; possible: below 2.56"),
        (RARE % "-1", r"source.sampler.min_crop_ratio: must be at least 0"),
        ("source.sampler={name: shuffle, min_crop_ratio: 1}", r"source.sampler.min_crop_ratio: is for rare_class, got shuffle"),
    ],
)
def test_a_ratio_that_no_crop_can_meet_is_refused(sampler: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("streets", [sampler, "source.transform={crop: {size: [16, 16]}}"])
    load_config("streets", [RARE % "2.5", "source.transform={crop: {size: [16, 16]}}"])


def test_a_quick_run_asks_smaller_crops_for_less() -> None:
    words = ["source.transform={crop: {size: [1024, 512]}}", "source.sampler={name: rare_class, min_crop_ratio: 2.0}"]
    (round,) = make_quick(load_config("streets", words), 10).rounds.values()
    assert round.source.transform["crop"].size == (256, 128)
    assert round.source.sampler.min_crop_ratio == 2 / 16


def test_a_run_is_refused_in_one_line_where_no_image_is_rich_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    words = (
        "run streets device=cpu threads=1 workers=0 tensorboard=false rounds.source.steps=1 batch=1 source.count=2 source.image_size=[64,32] "
        "evaluate.target.count=1 evaluate.target.image_size=[64,32] evaluate.source=null name=bad"
    )  # fmt: skip
    assert main([*words.split(), "source.sampler={name: rare_class, min_pixels: 2000, min_crop_ratio: 0.1}", "source.transform=null"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "source.sampler.min_pixels: no image holds more than 2000 pixels of one class; possible: at most " in line
