"""What the hooks at a round's end may do: pass over the data, write images, record numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn

from udacore.config.schema import PseudoLabelConfig
from udacore.data.loading import pass_batches
from udacore.engine.checkpoint import undisturbed
from udacore.engine.device import Machine
from udacore.engine.hook_results import check_image_name, read_number
from udacore.engine.overlays import Overlay
from udacore.engine.rounds import Round
from udacore.interface import PassBatch, RoundInfo


@attrs.frozen
class Pass:
    """A pass over a domain, fresh each time it is iterated; leaves no trace in random states or modes."""

    start: Callable[[], Iterator[PassBatch]]
    model: nn.Module
    machine: Machine

    def __iter__(self) -> Iterator[PassBatch]:
        with undisturbed(self.model):
            for batch in self.start():
                image = batch.image.to(self.machine.device, memory_format=self.machine.memory_format)
                label = None if batch.label is None else batch.label.to(self.machine.device)
                yield attrs.evolve(batch, image=image, label=label)


@attrs.define(kw_only=True)
class RoundHandle:
    """The `round` of `on_round_end` and `make_pseudo_labels`; see `udacore.interface.RoundEnd`."""

    model: nn.Module
    settings: Any
    round: RoundInfo
    folder: Path
    device: torch.device
    pseudo_labels: PseudoLabelConfig
    origin: Round = attrs.field(repr=False)
    numbers: dict[str, float] = attrs.field(factory=dict, repr=False)
    images: Overlay = attrs.field(repr=False)

    def source(self, *, size: tuple[int, int] | None = None, batch: int = 1, labels: bool = True, images: bool = True) -> Iterable[PassBatch]:
        """Each source image of this rank once, in list order."""
        table = self.origin.source()
        return self._pass(table, self.origin.config.source.transform, size=size, batch=batch, labels=labels, images=images)

    def target(self, *, size: tuple[int, int] | None = None, batch: int = 1) -> Iterable[PassBatch]:
        """Each target image of this rank once, in list order."""
        table = self.origin.target(overlay=False)
        return self._pass(table, self.origin.config.target.transform, size=size, batch=batch, labels=False, images=True)

    def source_key(self) -> str:
        """Names the source's labels: changes with their list, classes, label map and files."""
        return self.origin.source().source_hash()

    def _pass(self, table: Any, steps: Any, **choices: Any) -> Pass:
        def start() -> Iterator[PassBatch]:
            return iter(pass_batches(table, steps, self.origin.config.pixels, workers=self.origin.session.config.workers, **choices))

        return Pass(start, self.model, self.origin.session.machine)

    def write_image(self, name: str, image: np.ndarray) -> None:
        """Write a picture for the overlay of a later round: H W 3 uint8 under the image's name."""
        self.images.write_image(check_image_name(name), image)

    def record(self, name: str, value: Any) -> None:
        """Note a number of this round's end."""
        self.numbers[str(name)] = read_number(value, f"round {self.round.name!r}: record({name!r})")
