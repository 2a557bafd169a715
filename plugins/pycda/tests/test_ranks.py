"""Two processes compute what one computes on the whole batch: values, and gradients
averaged as the core does."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
import udacore_pycda as pycda
from udacore_pycda.prior import cached_counts, count_positions, pool_prior, spatial_prior
from udacore_pycda.pyramid import Pyramid, Weights, target_losses

from udacore.config.schema import ModelConfig, PartConfig, RoundConfig
from udacore.interface import RoundInfo, SourceBatch, TargetBatch
from udacore.testing.processes import part
from udacore.testing.steps import take_steps

SIDES, CLASSES, SIZE = (2, 4), 5, (12, 17)


def _batch():
    """Four images, confident in places; the upper third of each is padding, and the last is padding alone."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * F.interpolate(torch.randn(4, CLASSES, 3, 4, generator=generator), SIZE, mode="bilinear")
    valid = torch.ones(4, *SIZE, dtype=torch.bool)
    valid[:, :4] = valid[3] = False
    prior = spatial_prior(torch.rand(*SIZE, CLASSES, generator=generator).numpy(), CLASSES)
    return logits, valid, {side: pool_prior(prior, side) for side in SIDES}


def _losses(share, merge):
    """Losses and the gradient of the logits of the images that `share` gives this process."""
    logits, valid, prior = _batch()
    logits = logits[share].clone().requires_grad_()
    seen = Pyramid(logits=logits, valid=valid[share], box_sizes=SIDES)
    losses = target_losses(seen, Weights(spatial=0.4), merge_pixels=merge, prior=prior)
    torch.stack(list(losses.values())).sum().backward()
    return {name: loss.detach() for name, loss in losses.items()}, logits.grad


def _counts(share):
    labels = torch.randint(0, 6, (3, 8, 10), generator=torch.Generator().manual_seed(1))[share]
    return count_positions([labels] if len(labels) else [], 5)


def _on_one_of_two_ranks(rank, file):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    share = slice(2 * rank, 2 * rank + 2)
    together = [_losses(share, merge) for merge in (False, True)]
    counts = {name: cached_counts((file.name, name), lambda of=of: _counts(of)) for name, of in (("both", slice(rank, None, 2)), ("one", slice(3 * rank, 3)))}
    part()
    for merge, (losses, gradient) in zip((False, True), together, strict=True):
        alone, whole = _losses(slice(None), merge)
        torch.testing.assert_close(losses, alone)
        torch.testing.assert_close(gradient / 2, whole[share])  # the core takes the mean over ranks
    for found in counts.values():
        assert np.array_equal(found, _counts(slice(None)).numpy())


def test_two_processes_pool_their_pixels_squares_places_and_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("UDACORE_CACHE", str(tmp_path / "cache"))
    mp.spawn(_on_one_of_two_ranks, args=(tmp_path / "meeting",), nprocs=2)


SETTINGS = pycda.Settings(network="core", adapt="pyramid", threshold=0.3, box_sizes=SIDES, lambda_spatial=0.4)
INFO = RoundInfo(name="any", index=0, steps=10, trains=("segmenter",), classes=("a", "b", "c", "d", "e"))


def _updated(share):
    """The network after two steps of two updates each on batches of four, of which
    `share` gives this process's."""
    torch.manual_seed(0)
    model = pycda.build_model(settings=SETTINGS, architecture=ModelConfig(name="small"), round=INFO)
    model.source_statistics.fill(np.random.default_rng(0).integers(1, 9, (*SIZE, CLASSES)))
    config = RoundConfig(steps=10, update="alternate", parts={"segmenter": PartConfig(lr=0.05)}, method=SETTINGS)
    generator = torch.Generator().manual_seed(3)
    valid = _batch()[1]
    sources, targets = [], []
    for _ in range(2):
        source, target = torch.randn(2, 4, 3, *SIZE, generator=generator)
        label = torch.randint(0, CLASSES, (4, *SIZE), generator=generator)
        names = ("a", "b", "c", "d")[share]
        sources.append(SourceBatch(image=source[share], label=label[share], name=names, valid=valid[share]))
        targets.append(TargetBatch(image=target[share], name=names, valid=valid[share]))
    take_steps(pycda, config, model, sources, targets, round=INFO)
    return model.state_dict()


def _train_on_one_of_two_ranks(rank, file):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    together = _updated(slice(2 * rank, 2 * rank + 2))
    part()
    alone = _updated(slice(None))
    assert together.keys() == alone.keys() != set()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=2e-4, atol=1e-5)


def test_two_processes_train_the_network_that_one_would_its_statistics_included(tmp_path):
    mp.spawn(_train_on_one_of_two_ranks, args=(tmp_path / "meeting",), nprocs=2)
