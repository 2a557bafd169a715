"""BDL's class thresholds and perceptual loss: the plain form beside the fast one, in one process.

    python benchmarks/bdl.py [--maps 500] [--plain-maps 50] [--size 1024 512] [--side 132] [--repeat 3]

Thresholds: label maps, drawn anew whenever they are asked for, go through the streaming counter, and some of
them through a sort of everything too, whose thresholds must be the same. Peak memory is what the process grew
by: the fast form's above the start, then the plain form's above that, since a process cannot take its peak
back.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from udacore_bdl.losses import perceptual_loss, score_images
from udacore_bdl.segmenters import build_deeplab

from udacore.thresholds import ThresholdCounter, find_thresholds

CLASSES, FRACTION, CAP = 19, 0.5, 0.9
Predictions = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=500)
    parser.add_argument("--plain-maps", type=int, default=50, help="how many of them the plain form sorts; it keeps them all, 2.6 MB each")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 512), help="width and height of a label map")
    parser.add_argument("--side", type=int, default=132, help="sides of the perceptual network's images")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    compare_thresholds(arguments.maps, arguments.plain_maps, tuple(arguments.size))
    compare_perceptual(arguments.side, arguments.repeat)


def compare_thresholds(maps: int, plain_maps: int, size: tuple[int, int]) -> None:
    print(f"thresholds over maps of {size[0]} x {size[1]}, {CLASSES} classes")
    seconds, memory, _ = measured(streamed, drawn(maps, size))
    print(f"  fast   {maps:4} maps  {seconds:7.1f} s  {memory:6.0f} MB above the start", flush=True)
    seconds, _, fast = measured(streamed, drawn(plain_maps, size))
    print(f"  fast   {plain_maps:4} maps  {seconds:7.1f} s", flush=True)
    seconds, memory, plain = measured(sorted_whole, drawn(plain_maps, size))
    print(f"  plain  {plain_maps:4} maps  {seconds:7.1f} s  {memory:6.0f} MB more than the fast form's peak", flush=True)
    assert torch.equal(fast, plain), "the thresholds differ"
    print("  the thresholds are equal to the last bit")


def drawn(maps: int, size: tuple[int, int]) -> Predictions:
    """Confidence and class of each pixel; classes differ in how sure they are, and the
    last is never predicted."""

    def predictions() -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(maps):
            rng = np.random.default_rng(number)
            label = rng.integers(0, CLASSES - 1, (size[1], size[0]), dtype=np.uint8)
            confidence = rng.random((size[1], size[0]), dtype=np.float32) ** (0.1 + 0.05 * label.astype(np.float32))
            yield torch.from_numpy(confidence), torch.from_numpy(label).long()

    return predictions


def streamed(predictions: Predictions) -> Tensor:
    """Two passes over integer histograms, in constant memory."""
    return find_thresholds(ThresholdCounter(CLASSES, FRACTION, CAP, "float64"), predictions)


def sorted_whole(predictions: Predictions) -> Tensor:
    """All pixels kept, and sorted class by class."""
    confidence, label = zip(*((c.numpy(), each.numpy().astype(np.uint8)) for c, each in predictions()), strict=True)
    values, classes = np.stack(confidence), np.stack(label)
    del confidence, label
    found = []
    for number in range(CLASSES):
        own = np.sort(values[classes == number])
        found.append(min(float(own[min(round(len(own) * FRACTION), len(own) - 1)]), CAP) if len(own) else 0.0)
    return torch.tensor(found, dtype=torch.float64)


def measured(form: Callable[[Predictions], Tensor], predictions: Predictions) -> tuple[float, float, Tensor]:
    """Seconds, megabytes by which the peak of this process rose, and the result."""
    before, start = peak(), time.perf_counter()
    result = form(predictions)
    return time.perf_counter() - start, peak() - before, result


def peak() -> float:
    """Highest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def compare_perceptual(side: int, repeat: int) -> None:
    """The four comparisons of a translation step with DeepLab on ResNet-101, forward and backward."""
    torch.manual_seed(0)
    network = build_deeplab(CLASSES, "live", 2).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):  # the published start is so small that nothing would reach the logits
            torch.nn.init.kaiming_normal_(module.weight)
    real, made = torch.rand(2, 2, 3, side, side), torch.rand(4, 2, 3, side, side)

    def logits(image: Tensor) -> Tensor:
        return network(image).logits

    def plain(images: list[Tensor]) -> Tensor:
        """As the authors' program: a forward for each image of each comparison,
        real ones with a graph too."""
        constant = [each.clone().requires_grad_() for each in real]
        return torch.stack([perceptual_loss(logits(image), logits(constant[number // 2]).detach()) for number, image in enumerate(images)]).sum()

    def fast(images: list[Tensor]) -> Tensor:
        """Real images once, together and without gradient; those made from them in pairs."""
        with torch.no_grad():
            reference = score_images(logits, list(real), joined=True)
        scores = [score for pair in (images[:2], images[2:]) for score in score_images(logits, pair, joined=True)]
        return torch.stack([perceptual_loss(score, reference[number // 2]) for number, score in enumerate(scores)]).sum()

    print(f"perceptual loss of a translation step, ResNet-101, 2 images of {side} x {side} each domain, best of {repeat}")
    rows = {}
    for form in (plain, fast):
        seconds = []
        for _ in range(repeat):
            images = [each.clone().requires_grad_() for each in made]
            start = time.perf_counter()
            loss = form(images)
            loss.backward()
            seconds.append(time.perf_counter() - start)
        rows[form.__name__] = (min(seconds), float(loss.detach()), torch.stack([image.grad for image in images if image.grad is not None]))
        print(f"  {form.__name__:<5}  {min(seconds):7.2f} s", flush=True)
    torch.testing.assert_close(rows["fast"][1], rows["plain"][1], rtol=1e-3, atol=1e-6)
    largest = rows["plain"][2].abs().max()
    print(f"  gradients differ by {float((rows['fast'][2] - rows['plain'][2]).abs().max() / largest):.1e} of the largest entry")


if __name__ == "__main__":
    main()
