from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from udacore_pycda.prior import SourceStatistics, cached_counts, class_histogram, count_positions, pool_prior, read_files, spatial_prior, write_counts

from udacore.errors import ConfigError
from udacore.models import load_state

CLASSES = 3


def some_counts(height=8, width=12):
    return np.random.default_rng(0).integers(0, 9, (height, width, CLASSES)).astype(np.int32)


def test_positions_are_counted_by_class_and_what_is_no_class_counts_nowhere():
    labels = torch.tensor([[[0, 2], [255, 1]], [[0, 3], [255, -1]]])
    counts = count_positions([labels[:1], labels[1:]], CLASSES)
    assert counts.tolist() == [[[2, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]]]
    assert counts.dtype == torch.int32


def test_labels_of_several_sizes_have_no_common_positions():
    with pytest.raises(ValueError, match="labels of 4 x 2 and of 3 x 2 pixels"):
        count_positions([torch.zeros(1, 2, 4).long(), torch.zeros(1, 2, 3).long()], CLASSES)


def test_frequencies_sum_to_one_and_a_position_never_labelled_is_uniform():
    counts = some_counts()
    counts[2, 3] = 0
    prior = spatial_prior(counts, CLASSES)
    assert prior.shape == (CLASSES, 8, 12)
    np.testing.assert_allclose(prior.sum(0), 1)
    np.testing.assert_allclose(prior[:, 2, 3], 1 / CLASSES)
    np.testing.assert_allclose(class_histogram(counts), counts.reshape(-1, CLASSES).sum(0) / counts.sum())
    np.testing.assert_allclose(class_histogram(counts * 0), 1 / CLASSES)
    assert pool_prior(prior, 4).shape == (CLASSES, 2, 3)


def test_counts_are_made_once_and_read_afterwards(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path))
    counts = some_counts()
    assert np.array_equal(cached_counts(("a", "b"), lambda: torch.from_numpy(counts)), counts)
    assert np.array_equal(cached_counts(("a", "b"), lambda: pytest.fail("counted again")), counts)
    other = cached_counts(("a", "c"), lambda: torch.from_numpy(counts + 1))
    assert np.array_equal(other, counts + 1)
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(cached_counts(("a", "b"), lambda: torch.from_numpy(counts)), counts)
    assert "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "file"))
    counts = some_counts()
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(cached_counts(("a",), lambda: torch.from_numpy(counts)), counts)
    assert "could not be kept" in caplog.text


def filled(sides=(2, 4)):
    statistics = SourceStatistics(CLASSES, sides)
    statistics.fill(some_counts())
    return statistics


def test_what_was_counted_is_saved_with_the_weights_and_loaded_into_any_choice_of_squares():
    holder, other = torch.nn.Module(), torch.nn.Module()
    holder.known, other.known = filled(), SourceStatistics(CLASSES, (4, 8))
    load_state(other, holder.state_dict(), where="test")
    assert set(other.known.priors) == {2, 4}
    assert torch.equal(other.known.priors[4], holder.known.priors[4])
    assert torch.equal(other.known.histogram, holder.known.histogram)
    assert other.known.size.tolist() == [8, 12]


def test_squares_larger_than_the_input_have_no_prior():
    assert set(filled((4, 16)).priors) == {4}


def test_files_win_over_weights_and_over_counts(tmp_path):
    write_counts(tmp_path / "mine.npz", some_counts()[:4] + 1)
    (tmp_path / "frequencies.txt").write_text("0.5, 0.25\n0.25")
    holder, saved = torch.nn.Module(), torch.nn.Module()
    holder.known, saved.known = SourceStatistics(CLASSES, (2,)), filled((2,))
    read_files(holder.known, str(tmp_path / "mine.npz"), str(tmp_path / "frequencies.txt"))
    load_state(holder, saved.state_dict(), where="test")
    holder.known.fill(some_counts())
    assert holder.known.size.tolist() == [4, 12]
    assert holder.known.histogram.tolist() == [0.5, 0.25, 0.25]
    torch.testing.assert_close(holder.known.priors[2], pool_prior(spatial_prior(some_counts()[:4] + 1, CLASSES), 2))


def test_the_authors_array_may_have_further_channels(tmp_path):
    weights = np.random.default_rng(0).random((8, 12, CLASSES + 1))
    np.save(tmp_path / "local.npy", weights)
    known = SourceStatistics(CLASSES, (4,))
    read_files(known, str(tmp_path / "local.npy"), None)
    torch.testing.assert_close(known.priors[4], pool_prior(spatial_prior(weights[..., :CLASSES], CLASSES), 4))


@pytest.mark.parametrize("kind", ["missing", "pickled", "text", "flat", "few", "negative", "words"])
def test_a_file_that_holds_no_prior_is_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "local.npy"
    if kind == "pickled":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "text":
        path.write_text("no array")
    elif kind != "missing":
        words = np.full((8, 12, 3), "road")
        np.save(path, {"flat": np.zeros((8, 3)), "few": np.zeros((8, 12, 2)), "negative": np.full((8, 12, 3), -1.0), "words": words}[kind])
    with pytest.raises(ConfigError, match=r"method\.prior: .*local\.npy") as caught:
        read_files(SourceStatistics(CLASSES, (4,)), str(path), None)
    assert "\n" not in str(caught.value)


def test_counts_of_a_run_with_further_classes_are_not_cut_to_the_first(tmp_path):
    write_counts(tmp_path / "other.npz", np.ones((8, 12, CLASSES + 1), np.int32))
    with pytest.raises(ConfigError, match=r"other\.npz: \(8, 12, 4\) of int32; needed: H x W x 3 counts"):
        read_files(SourceStatistics(CLASSES, (4,)), str(tmp_path / "other.npz"), None)


@pytest.mark.parametrize("text", [None, "a b c", "1 2", "-1 1 1", "0 0 0"])
def test_a_file_that_holds_no_histogram_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "frequencies.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"method\.histogram: .*frequencies\.txt"):
        read_files(SourceStatistics(CLASSES, (4,)), None, str(path))
