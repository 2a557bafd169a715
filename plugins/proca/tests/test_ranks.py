from __future__ import annotations

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from udacore_proca.memory_bank import MemoryBank
from udacore_proca.prototypes import Estimator, Prototypes

from udacore.testing.processes import part

CLASSES, CHANNELS = 4, 6


def pixels(count, seed):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES + 1, (count,), generator=generator)
    label[label == CLASSES] = 255
    return torch.randn(count, CHANNELS, generator=generator), label, torch.rand(count, generator=generator)


def images(count):
    generator = torch.Generator().manual_seed(2)
    shapes = (CHANNELS, 3, 4), (CLASSES, 3, 4)
    features, logits = (torch.randn(count, *shape, generator=generator) for shape in shapes)
    label = torch.randint(0, CLASSES, (count, 13, 17), generator=generator)
    return [(features[i : i + 1], logits[i : i + 1], label[i : i + 1]) for i in range(count)]


def _remember(share):
    """What is remembered of five images and two batches, of which `share` gives this process's."""
    updated, begun, bank = Estimator(CLASSES, CHANNELS), Prototypes(CLASSES, CHANNELS), MemoryBank(CLASSES, 8, CHANNELS)
    begun.initialise(images(5)[share])
    batches = [pixels(100, 0), pixels(201, 1)][share]
    x, label = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
    updated.update(x, label)
    for batch in batches:
        bank.update(*batch, per_class=3)
    return torch.nn.ModuleList([updated, begun, bank]).state_dict()


def _on_one_of_two_ranks(rank, file):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    together = _remember(slice(rank, None, 2))
    part()
    alone = _remember(slice(None))
    assert together.keys() == alone.keys() != set()
    for name, value in together.items():
        torch.testing.assert_close(value, alone[name])


def test_two_processes_remember_what_one_would(tmp_path):
    mp.spawn(_on_one_of_two_ranks, args=(tmp_path / "meeting",), nprocs=2)
