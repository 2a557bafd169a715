"""PyCDA, self-motivated pyramid curriculum.

On each target batch the network is asked for a pyramid of properties, from easy to hard: the class
distribution of the whole batch, the class of small squares of pixels, the class of single pixels. What it
answers confidently at a level is what it learns there, in the same forward pass. Batch norm sees each
domain's own batches, and its stored statistics are converted to the target at the end.

Qing Lian, Fengmao Lv, Lixin Duan, Boqing Gong: Constructing Self-Motivated Pyramid Curriculums for
Cross-Domain Semantic Segmentation: A Non-Adversarial Approach. ICCV 2019, arXiv 1908.09547.

Rounds: `source` trains on labels (with `adapt: statistics` target forwards move the batch statistics too:
AdaBN) and counts the source's classes at its end; `pyramid` (`adapt: pyramid`, `update: alternate`) learns
from both domains in turns; `convert` (`adapt: statistics`, target alone) is forwards only. The hooks look at
the settings and at what is drawn, never at a round's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from udacore import hookimpl, ranks
from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError, DataError
from udacore.interface import Losses, RoundEnd, RoundInfo, Step
from udacore.losses import upsample
from udacore.models import NormFactory, StoredBatchNorm2d, build_segmenter, fit_input, make_batch_norm
from udacore_pycda import losses
from udacore_pycda.checkpoints import LAYOUTS as LAYOUTS
from udacore_pycda.normalization import CumulativeBatchNorm2d, reset_statistics
from udacore_pycda.ppm import build_ppm
from udacore_pycda.prior import SourceStatistics, cached_counts, count_positions, read_files, write_counts
from udacore_pycda.pyramid import Pyramid, Weights, target_losses
from udacore_pycda.settings import Settings as Settings

UDACORE_API = 1
CITATION = """
@inproceedings{lian2019pycda,
  title = {Constructing Self-Motivated Pyramid Curriculums for Cross-Domain Semantic Segmentation: A Non-Adversarial Approach},
  author = {Lian, Qing and Lv, Fengmao and Duan, Lixin and Gong, Boqing},
  booktitle = {International Conference on Computer Vision (ICCV)},
  year = {2019},
  eprint = {1908.09547},
  archivePrefix = {arXiv}
}
"""

STATISTICS_FILE = "source_statistics.npz"
"""What `source_statistics` leaves in the round's folder; `prior:` of another run may name it."""
_PASS_BATCH = 8


@hookimpl
def build_model(settings: Settings, architecture: ModelConfig, round: RoundInfo) -> nn.Module:
    """The segmenter, and what it remembers of the source's labels as its child `source_statistics`."""
    if settings.network == "ppm":
        model: nn.Module = build_ppm(settings.encoder, len(round.classes), _norm(settings, architecture))
        fit_input(model, architecture.channels)
    else:
        model = build_segmenter(architecture, len(round.classes), norm=_norm(settings, architecture))
    model.source_statistics = SourceStatistics(len(round.classes), settings.box_sizes)
    read_files(model.source_statistics, settings.prior, settings.histogram)
    return model


def _norm(settings: Settings, architecture: ModelConfig) -> NormFactory:
    if settings.batch_norm == "core":
        return make_batch_norm(architecture.batch_norm)
    return partial(CumulativeBatchNorm2d, fused=settings.batch_norm == "cumulative-fused")


@hookimpl
def source_loss(step: Step) -> Losses:
    """Cross-entropy of the main head and, where the network has one, of the auxiliary
    head (algorithms/pycda 5.1)."""
    if step.source is None:
        return {}
    _prepare(step)
    settings, label = step.settings, step.source.label
    output = step.model(step.source.image, domain="source")
    found = {"cross_entropy": settings.lambda_trade_off * losses.source_loss(output.logits, label, step.model.align_corners)}
    if settings.lambda_aux > 0 and "aux" in output.heads:
        auxiliary = losses.source_loss(output.heads["aux"], label, step.model.align_corners)
        found["auxiliary"] = settings.lambda_trade_off * settings.lambda_aux * auxiliary
    return found


@hookimpl
def target_loss(step: Step) -> Losses:
    """The levels of the pyramid; or a forward alone, which moves the batch statistics."""
    if step.target is None or step.settings.adapt == "none":
        return {}
    if step.source is None:
        _prepare(step)
    if step.settings.adapt == "statistics":
        with torch.no_grad():
            step.model(step.target.image, domain="target")
        return {}
    return _pyramid_losses(step)


def _pyramid_losses(step: Step) -> dict[str, Tensor]:
    settings, known = step.settings, step.model.source_statistics
    assert step.target is not None
    height, width = step.target.image.shape[-2:]
    logits = upsample(step.model(step.target.image, domain="target").logits, (height, width), step.model.align_corners)
    seen = Pyramid(logits=logits, valid=step.target.valid, threshold=settings.threshold, box_sizes=settings.box_sizes)
    pixels = logits.shape[0] * height * width * ranks.size()
    step.record("confident_pixels", seen.pixel_loss()[1] / pixels)
    return target_losses(
        seen,
        Weights(pseudo=settings.lambda_pseudo, balance=settings.lambda_balance, spatial=settings.lambda_spatial),
        merge_pixels=settings.merge_pixels,
        image_target=settings.image_target,
        histogram=known.histogram,
        prior=known.priors if settings.lambda_spatial > 0 else None,
    )


def _prepare(step: Step) -> None:
    """What a round's first step does before its first forward, of whichever domain that is."""
    if step.index or step.micro:
        return
    if step.settings.adapt == "pyramid" and step.target is not None:
        height, width = step.target.image.shape[-2:]
        _check_knowledge(step, (height, width))
    if step.settings.adapt == "statistics" and not any(_is_moving(module) for module in step.model.modules()):
        raise ConfigError(
            f"rounds.{step.round.name}.method.adapt: statistics, but no batch norm of this model moves its statistics; "
            "possible: method.batch_norm: cumulative, or model.batch_norm: train"
        )
    if step.settings.reset:
        reset_statistics(step.model)


def _is_moving(module: nn.Module) -> bool:
    return isinstance(module, CumulativeBatchNorm2d | nn.BatchNorm2d) and not isinstance(module, StoredBatchNorm2d) and module.training


def _check_knowledge(step: Step, size: tuple[int, int]) -> None:
    """ConfigError where a loss needs of the source's labels what the model does not know; a dry
    run gets uniform knowledge."""
    settings, known, where = step.settings, step.model.source_statistics, f"round {step.round.name!r}"
    if step.round.dry and not known.size.any():
        known.fill(np.ones((*size, len(step.round.classes)), np.int32))
    remedy = "an earlier round with method.source_statistics: true"
    if settings.image_target == "source_histogram" and settings.lambda_balance > 0 and not known.histogram.any():
        raise ConfigError(f"{where}: method.image_target: source_histogram needs {remedy}, or the file method.histogram")
    if not (settings.lambda_spatial > 0 and settings.box_sizes):
        return
    if missing := [side for side in settings.box_sizes if side not in known.priors and side <= min(size)]:
        raise ConfigError(f"{where}: method.lambda_spatial: no spatial prior for squares of {missing[0]} pixels; it needs {remedy}, or the file method.prior")
    height, width = known.size.tolist()
    if (height, width) != size:
        raise ConfigError(
            f"{where}: the spatial prior is for inputs of {width} x {height}, but the target's are {size[1]} x {size[0]}; "
            "possible: method.prior_size in the round that counts, and a target that is neither scaled nor cropped"
        )


@hookimpl
def on_round_end(round: RoundEnd) -> Mapping[str, float] | None:
    """Count the source's classes at every position, if this round is to do so: histogram and spatial
    prior (algorithms/pycda 6.2)."""
    if not round.settings.source_statistics:
        return None
    size, num_classes = round.settings.prior_size or _default_size(round), len(round.round.classes)

    def labels() -> Iterable[Tensor]:
        for batch in round.source(size=size, batch=_PASS_BATCH, images=False):
            assert batch.label is not None
            yield batch.label

    try:
        counts = cached_counts((round.source_key(), str(size), str(num_classes)), lambda: count_positions(labels(), num_classes))
    except ValueError as error:
        raise ConfigError(f"method.prior_size: the source's {error}; possible: the width and height of the target's input") from error
    total = int(counts.sum(dtype="int64"))
    if not total:
        raise DataError("source: its labels hold no pixel of any class, so there is no class histogram and no spatial prior")
    round.model.source_statistics.fill(counts)
    if ranks.is_main():
        write_counts(round.folder / STATISTICS_FILE, counts)
    return {"source_pixels": float(total), "unlabelled_positions": float((counts.sum(2) == 0).sum())}


def _default_size(round: RoundEnd) -> tuple[int, int]:
    """Width and height of the first label in a pass of the source; part of the cache's key, for a run
    may resize to another size."""
    own = [list(batch.label.shape[:0:-1]) for batch in islice(round.source(images=False), 1) if batch.label is not None]
    width, height = next(size for sizes in ranks.all_gather_object(own) for size in sizes)  # a rank may have no label
    return width, height
