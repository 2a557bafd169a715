"""Pseudo labels of the target by argmax and class-wise thresholds of confidence (spec proca 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from torch import Tensor

from udacore.inference import predict_probability
from udacore.interface import PassBatch, RoundEnd
from udacore.thresholds import Precision, ThresholdCounter, apply_thresholds, find_thresholds


def make_thresholded_labels(
    round: RoundEnd,
    *,
    percent: float,
    cap: float = 0.9,
    precision: Precision = "float32",
    flip: bool = False,
    size: tuple[int, int] | None = None,
    upsample: Literal["logits", "probability"] = "logits",
    label_size: Literal["picture", "input"] = "picture",
) -> Iterator[tuple[str, np.ndarray]]:
    """Label this rank's target images: pairs of (name, H W uint8 class ids, 255 where confidence is too low).

    percent, cap, precision  rule of the thresholds, see `ThresholdCounter`; thresholds are found over the images of
                             all ranks, so every rank must iterate
    flip                     average with the mirrored picture
    size                     (width, height) of the network input; default: the round's own
    upsample                 what is enlarged, see `predict_probability`
    label_size               "picture": maps have the size of the picture on disk (spec proca 8), while thresholds are
                             found at the size of the input; "input": both have the latter (spec bdl 9)

    The network sees each image two or three times: once or twice for the thresholds (the second pass is left out if
    every class reaches the cap), once for the labels. Memory does not depend on the number of images: two maps of
    K H W float32 and about 10 MB of counts. The thresholds are recorded as `threshold/<class>`.
    """

    def predict(image: Tensor, at: tuple[int, int]) -> tuple[Tensor, Tensor]:
        confidence, prediction = predict_probability(round.model, image, at, flip=flip, upsample=upsample).max(1)
        return confidence, prediction

    def predictions() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in round.target(size=size):
            yield predict(batch.image, _input_size(batch))

    counter = ThresholdCounter(len(round.round.classes), percent, cap, precision, round.device)
    thresholds = find_thresholds(counter, predictions)
    for name, value in zip(round.round.classes, thresholds.tolist(), strict=True):
        round.record(f"threshold/{name}", value)
    for batch in round.target(size=size):
        for index, (name, own_size) in enumerate(zip(batch.name, batch.size, strict=True)):
            at = own_size if label_size == "picture" else _input_size(batch)
            confidence, prediction = predict(batch.image[index : index + 1], at)
            yield name, apply_thresholds(confidence, prediction, thresholds)[0].cpu().numpy()


def _input_size(batch: PassBatch) -> tuple[int, int]:
    height, width = batch.image.shape[-2:]
    return height, width
