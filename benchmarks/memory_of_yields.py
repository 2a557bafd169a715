"""What a step holds for its backward pass if three target losses are returned together, or
yielded one after another.

    OMP_NUM_THREADS=1 python benchmarks/memory_of_yields.py [--network deeplab-resnet101] [--side 512] [--amp]

One step of a method on the CPU, in four forms: its largest loss alone, the sum of all three as one loss, all
three returned by name, and all three yielded. The bytes are those of the tensors that autograd saves, counted
by torch's hooks for saved tensors, each storage once; weights are there anyway and do not count. Gradients
are compared with those of the sum. Exit code 1 if the yields need more than 1.15 times the largest loss, or
gradients differ by more than 1e-4 of their largest.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from udacore.config.schema import ModelConfig, PartConfig, RoundConfig
from udacore.engine.machine.device import Machine
from udacore.engine.optimisation.parts import make_parts, trained_parts
from udacore.engine.step import Updater
from udacore.interface import RoundInfo, TargetBatch
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter

CLASSES = 19
LARGEST = 1.15
DIFFERENCE = 1e-4


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """While this is open, the bytes of saved tensors: `now`, and the `peak`. Storages
    of `known` do not count."""

    def __init__(self, known: Iterator[Tensor]) -> None:
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._holders: collections.Counter[int] = collections.Counter()
        super().__init__(lambda tensor: _Saved(tensor, self), lambda saved: saved.tensor)

    def __enter__(self) -> SavedBytes:  # type: ignore[override]
        super().__enter__()
        return self

    def add(self, storage: Any, count: int) -> None:
        """One more or less holds this storage."""
        key = storage.data_ptr()
        if key in self._known:
            return
        before = self._holders[key]
        self._holders[key] += count
        if bool(before) != bool(self._holders[key]):
            self.now += count * storage.nbytes()
            self.peak = max(self.peak, self.now)


class _Saved:
    """A saved tensor, which says when it goes."""

    def __init__(self, tensor: Tensor, bytes: SavedBytes) -> None:
        self.tensor, self.bytes = tensor, bytes
        bytes.add(tensor.untyped_storage(), 1)

    def __del__(self) -> None:
        self.bytes.add(self.tensor.untyped_storage(), -1)


def views(step: Any) -> list[tuple[Tensor, Tensor]]:
    """Three images and labels to learn from: the target's, mirrored, and half hidden."""
    image, label = step.target.image, step.target.pseudo_label
    hidden = image.clone()
    hidden[..., : image.shape[-1] // 2] = 0
    return [(image, label), (image.flip(-1), label.flip(-1)), (hidden, label)]


def loss_of(step: Any, image: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy on one of them."""
    return segmentation_loss(step.model(image).logits, label, step.model.align_corners)


def one(number: int) -> Callable[..., Tensor]:
    """A hook that gives one of the losses alone."""
    return lambda step: loss_of(step, *views(step)[number])


def summed(step: Any) -> Tensor:
    """All as one loss."""
    return torch.stack([loss_of(step, *view) for view in views(step)]).sum()


def returned(step: Any) -> dict[str, Tensor]:
    """All by name."""
    return {f"view-{number}": loss_of(step, *view) for number, view in enumerate(views(step))}


def yielded(step: Any) -> Iterator[dict[str, Tensor]]:
    """One after another."""
    for number, view in enumerate(views(step)):
        yield {f"view-{number}": loss_of(step, *view)}


@attrs.frozen
class Form:
    """What one form held at most, in bytes; how long its step took, in seconds; and
    the gradients that it gave."""

    peak: int
    seconds: float
    gradients: list[Tensor]


def measure(hook: Callable[..., Any], architecture: ModelConfig, side: int, *, update: str = "accumulate", amp: bool = False) -> Form:
    """One step of a network with random weights on one random image of `side` x `side`,
    drawn from the target alone."""
    torch.manual_seed(0)
    model: nn.Module = build_segmenter(architecture, CLASSES)
    config = RoundConfig(parts={"segmenter": PartConfig(lr=0.0)}, update=update, draws=("target",), method=None)  # type: ignore[arg-type]
    trains = trained_parts(model, config)
    round = RoundInfo(name="adapt", index=0, steps=1, trains=trains, classes=("a",) * CLASSES)
    parts = make_parts(model, config, trains)
    gradients: list[Tensor] = []
    parts["segmenter"].optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(parameter.grad.clone() for parameter in parts["segmenter"].parameters if parameter.grad is not None)
    )
    updater = Updater(
        hooks=SimpleNamespace(target_loss=hook), method="benchmark", model=model, parts=parts, config=config, round=round,
        machine=Machine(device=torch.device("cpu"), amp="bf16" if amp else "off"), seed=0, epoch=1,
    )  # fmt: skip
    image, label = torch.randn(1, 3, side, side), torch.randint(CLASSES, (1, side, side))
    target = TargetBatch(image=image, name=("a",), valid=torch.ones_like(label, dtype=torch.bool), pseudo_label=label)
    began = time.perf_counter()
    with SavedBytes(iter((*model.parameters(), *model.buffers()))) as saved:
        updater.run_step(0, [None], [target])
    return Form(saved.peak, time.perf_counter() - began, gradients)


def difference(form: Form, other: Form) -> float:
    """The largest difference of two forms' gradients, relative to the largest of each parameter's."""
    pairs = zip(form.gradients, other.gradients, strict=True)
    return max(float((one - two).abs().max() / two.abs().max().clamp(min=1e-12)) for one, two in pairs)


def main() -> int:
    """Print a row for each form."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="deeplab-resnet101")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--amp", action="store_true", help="autocast to bf16")
    chosen = parser.parse_args()
    architecture = ModelConfig(name=chosen.network)
    forms: dict[str, Form] = {}
    print(f"{chosen.network}, {chosen.side} x {chosen.side}, torch {torch.__version__}\n")
    print("| form | MiB saved at most | to one loss | s | gradients to the sum |\n| --- | --: | --: | --: | --: |")
    for name, hook in (("one loss", one(2)), ("sum", summed), ("returned", returned), ("yielded", yielded)):
        forms[name] = form = measure(hook, architecture, chosen.side, amp=chosen.amp)
        ratio = form.peak / forms["one loss"].peak
        apart = "" if name in ("one loss", "sum") else f"{difference(form, forms['sum']):.1e}"
        print(f"| {name} | {form.peak / 2**20:.0f} | {ratio:.2f} | {form.seconds:.0f} | {apart} |", flush=True)
    is_small = forms["yielded"].peak <= LARGEST * forms["one loss"].peak
    return 0 if is_small and difference(forms["yielded"], forms["sum"]) <= DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
