"""PLCA in the plain form: every similarity of all pixels with all others as a matrix
(algorithms/clp 5, 9.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def similarity(rows: Tensor, columns: Tensor, kind: str) -> Tensor:
    """N L1 L2 of maps N C L1 and N C L2."""
    if kind == "cos":
        return F.normalize(rows, dim=1, eps=1e-12).transpose(1, 2) @ F.normalize(columns, dim=1, eps=1e-12)
    return (rows.transpose(1, 2) @ (columns + 1e-10).log()) - (rows * (rows + 1e-10).log()).sum(1)[:, :, None]


def score(similarity: Tensor) -> Tensor:
    """Contrast-normalised rows, then softmax."""
    mean = similarity.mean(2, keepdim=True).detach()
    deviation = similarity.std(2, keepdim=True).detach()
    return ((similarity - mean) / (deviation + 1e-10)).softmax(2)


def aggregate(x: Tensor, kind: str, alpha: float = 0.5) -> Tensor:
    """The mixture of each pixel (N C h w) with the average of all."""
    flat = x.flatten(2)
    alike = similarity(flat, flat, kind)
    weight = score(alike) if kind == "cos" else alike.softmax(2)
    return ((1 - alpha) * flat + alpha * flat @ weight.transpose(1, 2)).reshape(x.shape)


def association(source: Tensor, target: Tensor, label: Tensor, kind: str, alpha: float | None = 0.5) -> Tensor:
    """The association loss: two matrices of scores, the cycles by their largest entries, binary
    cross-entropy with target 1."""
    target = target if alpha is None else aggregate(target, kind, alpha)
    x, y, label = source.flatten(2), target.flatten(2), label.flatten(1)
    there = similarity(x, y, kind)
    back = there.transpose(1, 2) if kind == "cos" else similarity(y, x, kind)
    there, back = score(there), score(back)
    first, to_target = there.max(2)
    second, to_source = back.max(2)
    end = to_source.gather(1, to_target)
    trusted = (label != IGNORE) & (label == label.gather(1, end))
    scores = (first * second.gather(1, to_target))[trusted]
    return F.binary_cross_entropy(scores, torch.ones_like(scores)) if len(scores) else source.sum() * 0


def predict(features: Tensor, kernel: Tensor) -> Tensor:
    """Aggregated inference: probabilities N K h w of features N A h w under a head of
    one 1 x 1 kernel K A 1 1."""
    probability = F.conv2d(aggregate(features, "cos"), kernel).softmax(1)
    return aggregate(probability, "kl")
