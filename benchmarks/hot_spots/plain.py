"""The plain forms: what the published programs compute, without the shortcuts of this project
(algorithms/proca 5, algorithms/fada 5).

They are here to be measured and compared with, and as a second statement of the arithmetic; nothing else uses
them. Where the originals fail (no valid pixel, an absent class) these do not go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

IGNORE = 255


def update_prototypes(mean: Tensor, count: Tensor, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Running means (C A), counts (C float32) after the pixels `x` (P A): through a dense product P C A."""
    x, label = x[label != IGNORE], label[label != IGNORE]
    onehot = F.one_hot(label, len(mean)).to(x.dtype)
    product = onehot[:, :, None] * x[:, None, :]
    amount = onehot.sum(0)
    means = product.sum(0) / amount.clamp(min=1)[:, None]
    weight = torch.nan_to_num(amount / (amount + count))[:, None]
    return (1 - weight) * mean + weight * means, count + amount


def contrast(prototype: Tensor, x: Tensor, label: Tensor, tau: float) -> Tensor:
    """Cross-entropy over cosines: valid pixels are picked out, and each is normalised."""
    x, label = x[label != IGNORE], label[label != IGNORE]
    return F.cross_entropy(F.normalize(x, dim=1) @ F.normalize(prototype, dim=1).T / tau, label)


def mask_confident(logits: Tensor, delta: float) -> Tensor:
    """Classes of the largest logits, one masked write for each class."""
    value, label = logits.detach().max(1)
    mask = label.clone()
    for c in range(logits.shape[1]):
        mask[(label == c) & (value < delta)] = IGNORE
    return mask


def lovasz(probability: Tensor, label: Tensor) -> Tensor:
    """Lovasz-Softmax by a loop over classes, each sorted, with autograd's backward."""
    num_classes = probability.shape[1]
    scores, labels = probability.permute(0, 2, 3, 1).reshape(-1, num_classes), label.flatten()
    scores, labels = scores[labels != IGNORE], labels[labels != IGNORE]
    losses = []
    for c in range(num_classes):
        found = (labels == c).to(scores.dtype)
        if found.sum() == 0:
            continue
        error, order = (found - scores[:, c]).abs().sort(descending=True)
        found = found[order]
        jaccard = 1 - (found.sum() - found.cumsum(0)) / (found.sum() + (1 - found).cumsum(0))
        jaccard[1:] = jaccard[1:] - jaccard[:-1]
        losses.append(torch.dot(error, jaccard))
    return torch.stack(losses).mean()


def supervised(logits: Tensor, label: Tensor, lovasz_weight: float) -> Tensor:
    """Cross-entropy and Lovasz-Softmax of the enlarged logits."""
    enlarged = F.interpolate(logits, label.shape[-2:], mode="bilinear", align_corners=True)
    return F.cross_entropy(enlarged, label, ignore_index=IGNORE) + lovasz_weight * lovasz(enlarged.softmax(1), label)


def adapt(leaves: Sequence[Tensor], label: Tensor, states: list[tuple[Tensor, Tensor]], delta: float, tau: float) -> tuple[Tensor, list[Tensor]]:
    """The loss of one adaptation step, and the prototypes after it.

    leaves  source features, source logits, target features, target logits (N A h w, N C h w)
    states  prototypes and counts of the level of features, then of logits
    """
    source, target = leaves[:2], leaves[2:]
    small = F.interpolate(label[:, None].float(), source[0].shape[-2:], mode="nearest")[:, 0].long().flatten()
    mask = mask_confident(target[1], delta).flatten()
    loss, means = supervised(source[1], label, 0.75), []
    for level, (mean, count) in enumerate(states):
        pairs = [(each[level].permute(0, 2, 3, 1).reshape(-1, each[level].shape[1]), y) for each, y in ((target, mask), (source, small))]
        for x, y in pairs:
            mean, count = update_prototypes(mean, count, x.detach(), y)
        loss = loss + sum(contrast(mean, x, y, tau) for x, y in pairs)
        means.append(mean)
    return loss, means


def soft_cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """-s log softmax(z) with `soft` filled up with zeros to the channels of the
    logits, all of it as tensors."""
    soft = torch.cat([soft, torch.zeros_like(soft)], 1)
    return (-soft * logits.log_softmax(1)).sum(1).mean()


def thresholds(pictures: Sequence[tuple[Tensor, Tensor]], num_classes: int, percent: float, cap: float) -> NDArray[np.float32]:
    """Everything is kept and copied at every image (np.append), then picked out and sorted by class."""
    confidence, prediction = np.zeros(0, np.float32), np.zeros(0, np.int64)
    for p, c in pictures:
        confidence = np.append(confidence, p.cpu().numpy().reshape(-1))
        prediction = np.append(prediction, c.cpu().numpy().reshape(-1))
    found = np.zeros(num_classes, np.float32)
    for c in range(num_classes):
        x = np.sort(confidence[prediction == c])
        if len(x):
            found[c] = min(x[min(round(len(x) * percent), len(x) - 1)], np.float32(cap))
    return found


def picture_counts(logits: Tensor, label: Tensor, size: tuple[int, int]) -> NDArray[np.int64]:
    """Intersection, union, label pixels (3 K) of one image: enlarge, softmax, argmax, then `counts`."""
    probability = F.interpolate(logits, size, mode="bilinear", align_corners=True).softmax(1)
    return counts(probability.argmax(1), label, logits.shape[1])


def counts(prediction: Tensor, label: Tensor, num_classes: int) -> NDArray[np.int64]:
    """Intersection, union, label pixels (3 K) by three histograms on the CPU."""
    prediction, label = prediction.cpu().flatten().clone(), label.cpu().flatten()
    prediction[label == IGNORE] = IGNORE
    hit = prediction[prediction == label]
    intersection, predicted, labelled = (torch.histc(x.float(), num_classes, 0, num_classes - 1) for x in (hit, prediction, label))
    return torch.stack([intersection, predicted + labelled - intersection, labelled]).long().numpy()


def pseudo_label(logits: Tensor, size: tuple[int, int], limits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities of all classes go to the host; NumPy finds the classes, and
    a loop applies the thresholds."""
    probability = F.interpolate(logits, size, mode="bilinear", align_corners=True).softmax(1).cpu().numpy()
    prediction, confidence = probability.argmax(1), probability.max(1)
    label = prediction.copy()
    for c in range(len(limits)):
        label[(confidence < limits[c]) & (prediction == c)] = IGNORE
    return label.astype(np.uint8)


def multi_scale(model: Callable[[Tensor], Any], image: Tensor, size: tuple[int, int], scales: Sequence[float]) -> Tensor:
    """Mean probability over scales and mirror images, a forward for each."""
    height, width = image.shape[-2:]
    total = 0
    for scale in scales:
        view = F.interpolate(image, (int(height * scale), int(width * scale)), mode="bilinear", align_corners=True)
        for mirrored in (False, True):
            logits = model(view.flip(3) if mirrored else view).logits
            probability = F.interpolate(logits, size, mode="bilinear", align_corners=True).softmax(1)
            total = total + (probability.flip(3) if mirrored else probability)
    return total / len(scales) / 2


def slide(model: Callable[[Tensor], Any], image: Tensor, size: tuple[int, int], window: int, stride: int) -> Tensor:
    """One window after another, whose logits are padded to the whole image and added (mmsegmentation)."""
    height, width = image.shape[-2:]
    total, times = image.new_zeros(1, 1, height, width), image.new_zeros(1, 1, height, width)
    for row in range(max(height - window + stride - 1, 0) // stride + 1):
        for column in range(max(width - window + stride - 1, 0) // stride + 1):
            bottom, right = min(row * stride + window, height), min(column * stride + window, width)
            top, left = max(bottom - window, 0), max(right - window, 0)
            logits = model(image[:, :, top:bottom, left:right]).logits
            logits = F.interpolate(logits, (bottom - top, right - left), mode="bilinear", align_corners=model.align_corners)
            total = total + F.pad(logits, (left, width - right, top, height - bottom))
            times[:, :, top:bottom, left:right] += 1
    logits = F.interpolate(total / times, size, mode="bilinear", align_corners=model.align_corners)
    return logits.softmax(1).argmax(1)


def remap(raw: NDArray[Any], ids: dict[int, int]) -> NDArray[np.float32]:
    """Train ids by one boolean pass for each class over a float image."""
    raw = np.asarray(raw, np.float32)
    label = np.full(raw.shape, IGNORE, np.float32)
    for old, new in ids.items():
        label[raw == old] = new
    return label


def class_pixels(label: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    """Pixels of each class, a pass for each."""
    return np.array([(label == c).sum() for c in range(num_classes)])


def class_balanced_list(presence: NDArray[np.bool_], seed: int, sub_epochs: int, length: int) -> list[int]:
    """The class-balanced list with `choice` at each draw, and dictionaries as the program holds them."""
    random = np.random.RandomState(seed)
    files = [np.flatnonzero(column).tolist() for column in presence.T]
    classes_of = {f: np.flatnonzero(row).tolist() for f, row in enumerate(presence)}
    pointer, entries = [0] * len(files), []
    for _ in range(sub_epochs):
        count = np.zeros(len(files))
        for _ in range(length):
            share = count / count.sum() if count.sum() else count
            weight = 1 / np.log(1.01 + share)
            c = random.choice(len(files), p=weight / weight.sum())
            if pointer[c] > len(files[c]) - 1:
                random.shuffle(files[c])
                pointer[c] = pointer[c] % (len(files[c]) - 1)
            f = files[c][pointer[c]]
            pointer[c] += 1
            for each in classes_of[f]:
                count[each] += 1
            entries.append({"file": f})
    return [entry["file"] for entry in entries]
