from __future__ import annotations

import pytest
import torch
from udacore_proca.prototypes import (
    Estimator,
    Prototypes,
    downsample_labels,
    flatten_pixels,
    update_running_mean,
    update_with_momentum,
)

from udacore.interface import IGNORE

CLASSES, CHANNELS = 5, 7


def pixels(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES - 1, (count,), generator=generator)  # the last class never occurs
    label[::5] = IGNORE
    return torch.randn(count, CHANNELS, generator=generator), label


def test_the_mean_is_that_of_all_pixels_however_they_are_grouped():
    x, label = pixels(300)
    whole, parts = Estimator(CLASSES, CHANNELS), Estimator(CLASSES, CHANNELS)
    whole.update(x, label)
    for some in torch.arange(300).split([1, 7, 92, 200]):
        parts.update(x[some], label[some])
    expected = torch.stack([x[label == c].mean(0) for c in range(CLASSES - 1)])
    torch.testing.assert_close(whole.mean[:-1], expected)
    torch.testing.assert_close(parts.mean, whole.mean)
    assert parts.count.tolist() == whole.count.tolist() == [(label == c).sum().item() for c in range(CLASSES)]


def test_a_class_without_pixels_keeps_its_mean():
    x, label = pixels(50)
    state = Estimator(CLASSES, CHANNELS)
    state.mean.fill_(3.0)
    state.update(x, label)
    assert state.mean[-1].tolist() == [3.0] * CHANNELS
    assert state.count[-1] == 0


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_no_valid_pixel_changes_nothing(momentum):
    x, label = pixels(50)
    state = Estimator(CLASSES, CHANNELS)
    state.update(x, label)
    mean, count = state.mean.clone(), state.count.clone()
    state.update(x, torch.full_like(label, IGNORE), momentum=momentum)
    assert torch.equal(state.mean, mean)
    assert torch.equal(state.count, count)


def test_counts_are_exact_where_float32_would_stop_counting():
    mean, count = torch.zeros(1, 2), torch.tensor([2**24])
    for _ in range(3):
        mean, count = update_running_mean(mean, count, torch.ones(1, 2), torch.tensor([1]))
    assert count.item() == 2**24 + 3
    assert mean.max() > 0


def test_momentum_weighs_the_new_batch_and_counts_the_class_alone():
    mean, count = update_with_momentum(torch.tensor([[1.0], [5.0]]), torch.tensor([10, 20]), torch.tensor([[6.0], [0.0]]), torch.tensor([3, 0]), 0.9)
    torch.testing.assert_close(mean, torch.tensor([[0.1 + 0.9 * 2.0], [5.0]]))
    assert count.tolist() == [13, 20]


def test_buffers_are_changed_in_place_and_take_no_gradient():
    x, label = pixels(50)
    state = Estimator(CLASSES, CHANNELS)
    places = state.mean.data_ptr(), state.count.data_ptr()
    state.update(x.requires_grad_(), label)
    assert (state.mean.data_ptr(), state.count.data_ptr()) == places
    assert not state.mean.requires_grad
    assert set(state.state_dict()) == {"mean", "count"}


def test_pixels_are_flattened_image_by_image_and_row_by_row():
    x = torch.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4)
    flat = flatten_pixels(x)
    assert flat[(1 * 2 + 1) * 4 + 3].tolist() == x[1, :, 1, 3].tolist()


@pytest.mark.parametrize(("size", "small"), [((45, 70), (6, 9)), ((13, 17), (13, 17)), ((8, 8), (3, 5))])
def test_labels_are_reduced_by_the_floor_of_the_position(size, small):
    label = torch.randint(0, 256, (2, *size), generator=torch.Generator().manual_seed(1))
    rows = torch.arange(small[0]) * size[0] // small[0]
    columns = torch.arange(small[1]) * size[1] // small[1]
    assert torch.equal(downsample_labels(label, small), label[:, rows[:, None], columns])


def images(count):
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(count, CHANNELS, 3, 4, generator=generator)
    logits = torch.randn(count, CLASSES, 3, 4, generator=generator)
    label = torch.randint(0, CLASSES, (count, 13, 17), generator=generator)
    label[:, :3] = IGNORE
    return features, logits, label


def test_initialisation_begins_anew_and_does_not_depend_on_the_batch():
    features, logits, label = images(5)
    one, all_together = Prototypes(CLASSES, CHANNELS), Prototypes(CLASSES, CHANNELS)
    one.feature.update(*pixels(30))
    one.initialise(zip(features.split(1), logits.split(1), label.split(1), strict=True))
    all_together.initialise([(features, logits, label)])
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, all_together.state_dict()[name])
    assert one.output.count.sum() == (downsample_labels(label, (3, 4)) != IGNORE).sum()


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_features_in_double_precision_move_means_in_single(momentum):
    x, label = pixels(50)
    single, double = Estimator(CLASSES, CHANNELS), Estimator(CLASSES, CHANNELS)
    single.update(x, label, momentum=momentum)
    double.update(x.double(), label, momentum=momentum)
    assert double.mean.dtype == torch.float32
    torch.testing.assert_close(double.mean, single.mean)
