"""Pseudo labels by argmax and class-wise confidence thresholds (algorithms/proca 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from udacore.inference import predict_probability
from udacore.interface import Output, PassBatch, RoundEnd
from udacore.models import use_domain
from udacore.thresholds import Precision, ThresholdCounter, apply_thresholds, find_thresholds

KEPT_BYTES = 256 * 2**20
"""How much of the network's output is kept between the passes of one call; what does
not fit is computed again."""


def make_thresholded_labels(
    round: RoundEnd,
    *,
    percent: float,
    cap: float = 0.9,
    precision: Precision = "float32",
    flip: bool = False,
    size: tuple[int, int] | None = None,
    upsample: Literal["logits", "probability"] = "logits",
    label_size: Literal["image", "input"] = "image",
) -> Iterator[tuple[str, np.ndarray]]:
    """Label this rank's target images: pairs of (name, H W uint8 class ids, 255 where confidence is too low).

    percent, cap, precision  rule of the thresholds, see `ThresholdCounter`; thresholds are found over the
                             images of all ranks, so every rank must iterate
    flip                     average with the mirrored image
    size                     (width, height) of the network input; default: the round's own
    upsample                 what is enlarged, see `predict_probability`
    label_size               "image": maps have the size of the image on disk (algorithms/proca 8), while
                             thresholds are found at the size of the input; "input": both have the latter
                             (algorithms/bdl 9)

    There are two or three passes: one or two for the thresholds (the second is left out if every class
    reaches the cap), one for the labels. The network's own output, before it is enlarged, is kept up to
    `KEPT_BYTES`; images beyond that are seen anew in each pass. So memory does not depend on their number:
    that, two maps of K H W float32, and about 10 MB of counts. The thresholds are recorded as
    `threshold/<class>`.
    """
    network = _Network(round.model, flip)

    def predict(batch: PassBatch, index: int, at: tuple[int, int]) -> tuple[Tensor, Tensor]:
        image = batch.image[index : index + 1]
        confidence, prediction = predict_probability(network.recall(batch.name[index], image), image, at, flip=flip, upsample=upsample).max(1)
        return confidence, prediction

    def predictions() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in round.target(size=size):
            for index in range(len(batch.name)):
                yield predict(batch, index, _input_size(batch))

    counter = ThresholdCounter(len(round.round.classes), percent, cap, precision, round.device)
    thresholds = find_thresholds(counter, predictions)
    for name, value in zip(round.round.classes, thresholds.tolist(), strict=True):
        round.record(f"threshold/{name}", value)
    for batch in round.target(size=size):
        for index, (name, own_size) in enumerate(zip(batch.name, batch.size, strict=True)):
            confidence, prediction = predict(batch, index, _input_size(batch) if label_size == "input" else own_size)
            yield name, apply_thresholds(confidence, prediction, thresholds)[0].cpu().numpy()


@attrs.frozen
class _Recalled:
    """Stands in for the model where its logits are known."""

    logits: Tensor
    align_corners: bool

    def __call__(self, image: Tensor) -> Output:
        return Output(logits=self.logits, features=self.logits)


@attrs.define
class _Network:
    """The model, and its logits of the images seen so far as long as there is room. Images come singly, so
    that a label does not depend on which others shared a batch, nor on the number of processes."""

    model: Any
    flip: bool
    kept: dict[str, Tensor] = attrs.field(factory=dict)
    room: int = KEPT_BYTES

    def recall(self, name: str, image: Tensor) -> _Recalled:
        """The model's logits of an image (1 3 H W) and, with `flip`, of its mirror image after it."""
        logits = self.kept.get(name)
        if logits is None:
            with use_domain(self.model, "target"):
                logits = self.model(torch.cat([image, image.flip(-1)]) if self.flip else image).logits.float()
            if logits.nbytes <= self.room:
                self.kept[name] = logits
                self.room -= logits.nbytes
        return _Recalled(logits, bool(self.model.align_corners))


def _input_size(batch: PassBatch) -> tuple[int, int]:
    height, width = batch.image.shape[-2:]
    return height, width
