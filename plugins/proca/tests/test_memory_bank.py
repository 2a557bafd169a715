from __future__ import annotations

import pytest
import torch
from udacore_proca.memory_bank import (
    Candidates,
    MemoryBank,
    advance_pixel_queue,
    advance_prototype_queue,
    bank_contrast_loss,
    first_of_each_group,
    sample_anchors,
)

from udacore.interface import IGNORE


def candidates(counts, value=1.0, width=4):
    counts = torch.tensor(counts)
    pixels = torch.full((len(counts), width, 2), value)
    return Candidates(means=torch.full((len(counts), 2), value), pixels=pixels, counts=counts)


def test_the_first_of_each_group_are_those_of_lowest_order():
    group = torch.tensor([1, 0, 1, IGNORE, 1, 0])
    order = torch.tensor([0.5, 0.1, 0.2, 0.0, 0.9, 0.05])
    places, sizes = first_of_each_group(group, order, 3, 2)
    assert places[:2].tolist() == [[5, 1], [2, 0]]
    assert sizes.tolist() == [2, 3, 0]


def test_no_pixel_at_all_is_no_error():
    empty = torch.zeros(0, dtype=torch.int64)
    places, sizes = first_of_each_group(empty, torch.zeros(0), 3, 2)
    assert places.tolist() == [[0, 0]] * 3
    assert sizes.tolist() == [0, 0, 0]


def test_the_pixel_pointer_moves_by_what_was_written():
    queue, pointer = torch.zeros(3, 10, 2), torch.tensor([0, 8, 8])
    queue, pointer = advance_pixel_queue(queue, pointer, candidates([4, 2, 3]))
    assert pointer.tolist() == [4, 0, 0]
    written = [row.nonzero().flatten().tolist() for row in queue[:, :, 0]]
    assert written == [[0, 1, 2, 3], [8, 9], [7, 8, 9]]


def test_absent_classes_keep_queues_and_pointers():
    queue, pointer = torch.zeros(2, 5, 2), torch.tensor([3, 3])
    pixel_queue, pixel_pointer = advance_pixel_queue(queue, pointer, candidates([0, 1]))
    prototype_queue, prototype_pointer = advance_prototype_queue(queue, pointer, candidates([0, 1]))
    for after, moved in ((pixel_queue, pixel_pointer), (prototype_queue, prototype_pointer)):
        assert moved.tolist() == [3, 4]
        assert not after[0].any()
        assert after[1, :, 0].tolist() == [0, 0, 0, 1, 0]


def test_rows_begin_as_unit_vectors_and_both_queues_share_a_class():
    bank = MemoryBank(3, 5, 8)
    torch.testing.assert_close(bank.queue.norm(dim=2), torch.ones(3, 10))
    assert set(bank.state_dict()) == {"pixel_queue", "pixel_pointer", "prototype_queue", "prototype_pointer"}
    assert not torch.equal(bank.pixel_queue, bank.prototype_queue)


def test_rows_of_the_own_class_draw_wherever_they_lie():
    anchors = torch.tensor([[[1.0, 0.0]]])
    same, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    near = torch.stack([torch.stack([same, same]), torch.stack([other, other])])
    far = near.flip(0)
    losses = [bank_contrast_loss(anchors, torch.tensor([0]), queue, 0.1).item() for queue in (near, far)]
    assert losses[0] < 0.01 < 5 < losses[1]


def test_bank_contrast_has_the_gradient_of_its_value():
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    queue = torch.randn(5, 6, 4, generator=generator, dtype=torch.float64)
    classes = torch.tensor([0, 2, 4])
    assert torch.autograd.gradcheck(lambda a: bank_contrast_loss(a, classes, queue, 0.5), (anchors,))


def test_anchors_are_half_wrongly_predicted_ones():
    x = torch.arange(40.0)[:, None]
    label = torch.tensor([0] * 30 + [1] * 5 + [IGNORE] * 5)
    prediction = torch.tensor([1] * 20 + [0] * 10 + [1] * 10)
    anchors, classes = sample_anchors(x, label, prediction, torch.rand(40, generator=torch.Generator().manual_seed(0)))
    assert classes.tolist() == [0]  # class 1 has too few pixels
    values = anchors[0, :, 0]
    assert (values[:5] < 20).all()
    assert ((values[5:] >= 20) & (values[5:] < 30)).all()
    assert len(values.unique()) == 10


@pytest.mark.parametrize(("hard", "kept"), [(0, 0), (2, 2), (28, 8), (30, 10)])
def test_where_one_kind_is_short_the_other_fills_up(hard, kept):
    x = torch.arange(30.0)[:, None]
    label = torch.zeros(30, dtype=torch.int64)
    prediction = (torch.arange(30) < hard).long()
    anchors, _ = sample_anchors(x, label, prediction, torch.arange(30.0))
    assert anchors.shape == (1, 10, 1)
    assert (anchors < hard).sum() == kept


def test_without_a_class_of_enough_pixels_the_loss_is_a_zero_with_a_graph():
    x = torch.randn(20, 4, requires_grad=True)
    label = torch.full((20,), IGNORE)
    anchors, classes = sample_anchors(x, label, label, torch.rand(20))
    loss = bank_contrast_loss(anchors, classes, MemoryBank(3, 5, 4).queue, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()
