"""Streams and passes."""

from __future__ import annotations

import gc
import multiprocessing
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from udacore.config.schema import PixelConfig, SamplerConfig, SourceConfig, TargetConfig
from udacore.config.transforms import Crop, Flip, Jitter, Resize
from udacore.data.loading import Split, pass_batches, stream_batches
from udacore.errors import ConfigError, DataError
from udacore.interface import SourceBatch, TargetBatch
from udacore.labels import get_label_space

STEPS: dict[str, Any] = {"crop": Crop(size=(10, 8)), "flip": Flip(), "jitter": Jitter()}


Stream = Callable[..., Any]
Table = Callable[..., Any]


@pytest.fixture
def stream(make_table: Table) -> Stream:
    """Opens a stream over seven small images; keywords change its settings."""

    def stream(table: Any = None, entry: Any = None, **choices: Any) -> Any:
        arguments: dict[str, Any] = {"seed": 1, "round": "adapt", "domain": "source", "batch": 4, "steps": 3, "share": (0, 1)}
        entry = entry or SourceConfig(transform=STEPS)
        return stream_batches(table or make_table(), entry, PixelConfig(), space=get_label_space("streets"), **(arguments | choices))

    return stream


def joined(batches: list[SourceBatch]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    images = torch.cat([batch.image for batch in batches])
    return images, torch.cat([batch.label for batch in batches]), [name for batch in batches for name in batch.name]


def assert_same(first: list[SourceBatch], second: list[SourceBatch]) -> None:
    (images, labels, names), (other_images, other_labels, other_names) = joined(first), joined(second)
    assert torch.equal(images, other_images)
    assert torch.equal(labels, other_labels)
    assert names == other_names


def test_a_source_batch_has_the_shapes_and_types_of_the_interface(stream: Stream) -> None:
    (batch,) = stream(steps=1)
    assert isinstance(batch, SourceBatch)
    assert batch.image.shape == (4, 3, 8, 10)
    assert batch.image.dtype == torch.float32
    assert batch.label.shape == (4, 8, 10)
    assert batch.label.dtype == torch.int64
    assert set(batch.label.flatten().tolist()) <= {0, 1, 2, 255}
    assert batch.valid.shape == (4, 8, 10)
    assert batch.valid.all()
    assert isinstance(batch.name, tuple)
    assert len(set(batch.name)) == 4


def test_padding_is_not_valid_and_has_no_label(stream: Stream) -> None:
    (batch,) = stream(entry=SourceConfig(transform={"crop": Crop(size=(16, 30), pad="end", fill=(124, 116, 104))}), steps=1)
    assert batch.valid[:, :12].all()
    assert not batch.valid[:, 12:].any()
    assert (batch.label[:, 12:] == 255).all()
    assert batch.image[:, :, 12:].abs().max() < 0.01


def test_a_target_has_pseudo_labels_only_if_the_table_has_labels(stream: Stream, make_table: Table) -> None:
    entry = TargetConfig(transform=STEPS)
    plain = next(stream(make_table(has_labels=False), entry, domain="target"))
    assert isinstance(plain, TargetBatch)
    assert plain.pseudo_label is None
    overlaid = next(stream(make_table(), entry, domain="target"))
    assert overlaid.pseudo_label.shape == (4, 8, 10)


def test_a_source_without_labels_is_refused(stream: Stream, make_table: Table) -> None:
    with pytest.raises(DataError, match="source: its labels are needed"):
        stream(make_table(has_labels=False))


def test_workers_change_nothing(stream: Stream) -> None:
    assert_same(list(stream()), list(stream(workers=2)))


def test_a_stream_that_starts_later_goes_on_as_if_uninterrupted(stream: Stream) -> None:
    assert_same(list(stream(steps=5))[2:], list(stream(start=2, steps=5)))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_ranks_and_micro_batches_deal_out_the_same_samples(stream: Stream, accumulation: int) -> None:
    whole = list(stream(steps=2))
    ranks = [list(stream(steps=2, accumulation=accumulation, share=(rank, 2))) for rank in range(2)]
    dealt = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert_same(whole, dealt)


def test_a_batch_larger_than_the_data_set_goes_on_in_the_next_epoch(stream: Stream, make_table: Table) -> None:
    (batch,) = stream(make_table(count=3), batch=7, steps=1)
    assert sorted(batch.name[:3]) == sorted(batch.name[3:6]) == list(make_table(count=3).names)


def test_seed_round_and_domain_each_change_the_samples(stream: Stream, make_table: Table) -> None:
    plain = next(stream())
    for other in (stream(seed=2), stream(round="source"), stream(make_table(), TargetConfig(transform=STEPS), domain="target")):
        assert not torch.equal(plain.image, next(other).image)


def test_what_does_not_divide_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"batch: 6 images do not divide into 2 micro-batches on 2 processes; possible: multiples of 4"):
        Split(batch=6, accumulation=2, share=(0, 2))


def test_images_of_different_sizes_in_a_batch_are_an_error_that_says_what_to_do(stream: Stream, make_table: Table) -> None:
    with pytest.raises(ConfigError, match=r"source.transform: images of one batch differ in size: .* possible: a resize or crop step"):
        next(stream(make_table(growing=True), SourceConfig()))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_one_line_that_names_it(stream: Stream, make_table: Table, workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(stream(make_table(broken=frozenset({3})), workers=workers))
    assert str(caught.value) == "town/003.png is broken"


def test_a_class_balanced_stream_counts_the_labels(
    stream: Stream, make_table: Table, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path))
    entry = SourceConfig(transform=STEPS, sampler=SamplerConfig(name="class_balanced", sub_epoch=10))
    assert len(list(stream(entry=entry, steps=6))) == 6
    with pytest.raises(ConfigError, match=r"source.sampler.name: class_balanced needs labels"):
        stream(make_table(has_labels=False), entry)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_states_are_left_alone(stream: Stream, make_table: Table, workers: int) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    list(stream(workers=workers, steps=1))
    list(pass_batches(make_table(), STEPS, PixelConfig(), workers=workers))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]


def test_a_stream_that_is_dropped_early_leaves_no_process(stream: Stream) -> None:
    batches = stream(workers=2, steps=1000)
    next(batches)
    assert len(multiprocessing.active_children()) >= 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_an_error_leaves_no_process_although_its_traceback_is_kept(stream: Stream, make_table: Table) -> None:
    with pytest.raises(DataError) as caught:
        list(stream(make_table(broken=frozenset(range(7))), workers=2, steps=1000))
    gc.collect()
    assert caught.tb is not None
    assert multiprocessing.active_children() == []


def test_a_pass_sees_each_image_once_in_list_order_with_its_own_size(make_table: Table) -> None:
    table = make_table(growing=True)
    batches = list(pass_batches(table, {"resize": Resize(size=(8, 6)), "flip": Flip(probability=1)}, PixelConfig(), batch=3))
    assert [name for batch in batches for name in batch.name] == list(table.names)
    assert [size for batch in batches for size in batch.size] == [table.size(i) for i in range(7)]
    assert [tuple(batch.image.shape) for batch in batches] == [(3, 3, 6, 8), (3, 3, 6, 8), (1, 3, 6, 8)]
    labels = [batch.label for batch in batches if batch.label is not None]
    assert [tuple(label.shape) for label in labels] == [(3, 6, 8), (3, 6, 8), (1, 6, 8)]
    assert labels[0][:, 0].tolist() == [[number] * 4 + [255] * 4 for number in range(3)]


def test_the_ranks_of_a_pass_share_the_list_without_overlap(make_table: Table) -> None:
    names = [[n for b in pass_batches(make_table(), {}, PixelConfig(), labels=False, share=(rank, 3)) for n in b.name] for rank in range(3)]
    assert [len(part) for part in names] == [3, 2, 2]
    assert sorted(name for part in names for name in part) == list(make_table().names)
    assert list(pass_batches(make_table(count=1), {}, PixelConfig(), share=(1, 2))) == []


def test_without_a_size_only_images_of_one_size_share_a_batch(make_table: Table) -> None:
    batches = list(pass_batches(make_table(growing=True), {}, PixelConfig(), batch=4, labels=False))
    assert [(len(batch.name), batch.image.shape[2]) for batch in batches] == [(2, 12), (2, 13), (2, 14), (1, 15)]
    assert all(batch.label is None for batch in batches)


def test_a_pass_over_labels_reads_no_image(make_table: Table) -> None:
    table = make_table(broken=frozenset(range(7)))
    batches = list(pass_batches(table, {}, PixelConfig(), size=(8, 6), batch=7, images=False))
    assert batches[0].image.shape == (7, 3, 0, 0)
    assert batches[0].label is not None
    assert batches[0].label[:, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
