"""The types that the core and a method exchange.

Letters: N images, K classes, A channels, H x W the image's size in pixels, h x w that of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from torch import Tensor

from udacore.deprecation import UDACORE_API as UDACORE_API

IGNORE = 255
"""The label of pixels that count nowhere."""


@attrs.frozen(kw_only=True)
class Output:
    """What a segmenter returns.

    logits    N K h w, at the head's own resolution
    features  N A h w, what the head saw
    heads     further outputs by name, such as an auxiliary head's logits
    """

    logits: Tensor
    features: Tensor
    heads: Mapping[str, Tensor] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class SourceBatch:
    """Labelled images.

    image  N 3 H W float32, normalised
    label  N H W int64, class ids; 255 = ignore
    name   N keys: path below the root without suffix; of a named set `SET/key`
    set    N names of the sets that the images are of; `source` or `target` where the domain is one data set
    valid  N H W bool: False where padding shows
    extra  further maps by their keys under `extras`, under the same geometry as the image: N H W float32, 0
           where padding shows; ids N H W int64, 255 there; masks of margins N H W bool, False there; or
           colours N 3 H W float32, red, green and blue from 0 to 1
    """

    image: Tensor
    label: Tensor
    name: tuple[str, ...]
    valid: Tensor
    extra: Mapping[str, Tensor] = attrs.field(factory=dict)
    set: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class TargetBatch:
    """Images without labels. There is no label field, and no code in training opens one.

    image, name, valid, extra, set  as in SourceBatch
    pseudo_label                    N H W int64, 255 = ignore; None if the round has none
    """

    image: Tensor
    name: tuple[str, ...]
    valid: Tensor
    pseudo_label: Tensor | None = None
    extra: Mapping[str, Tensor] = attrs.field(factory=dict)
    set: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Pixels:
    """How colours became the numbers of an image, for methods that need colours: (colour * scale - mean) /
    std, channel by channel.

    order      of the channels, "rgb" or "bgr"
    scale      value of full brightness
    mean, std  a number for each channel, in that order
    """

    order: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def colours(self, image: Tensor) -> Tensor:
        """Red, green and blue, or the channels that there are, from 0 to 1 (N C H W or C H W) of a normalised image."""
        mean, std = self._numbers(image)
        channels = (image * std + mean) / self.scale
        return channels if self.order == "rgb" else channels.flip(-3)

    def image(self, colours: Tensor) -> Tensor:
        """The normalised image of such colours."""
        mean, std = self._numbers(colours)
        channels = colours if self.order == "rgb" else colours.flip(-3)
        return (channels * self.scale - mean) / std

    def _numbers(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std, each C 1 1, on the device of `like`, which is not waited for."""
        numbers = torch.tensor([self.mean, self.std], dtype=like.dtype).to(like.device, non_blocking=True)
        return numbers[0, :, None, None], numbers[1, :, None, None]


@attrs.frozen(kw_only=True)
class RoundInfo:
    """Which round this is.

    name, index  its key under `rounds`, and its place, from 0
    steps        optimiser steps of the round
    trains       the parts that it trains
    classes      names of the classes, in the order of the logits
    control      whether the run is a matched control: the core multiplies every loss on the target by 0
    dry          whether these are steps of a dry run: no earlier round has run, and what the
                 model remembers is as built
    pixels       how the round's images are normalised; `pixels.colours(image)` and
                 `pixels.image(colours)` go back and forth
    """

    name: str
    index: int
    steps: int
    trains: tuple[str, ...]
    classes: tuple[str, ...]
    control: bool = False
    dry: bool = False
    pixels: Pixels = Pixels()


@attrs.frozen(kw_only=True)
class Step:
    """Everything a loss may look at.

    Where a round draws both domains, both batches are there in both hooks and hold the same number of images;
    the sizes of their images are what the transforms of each domain say, and may differ. Neither hook changes
    a batch in place, since the other one sees it too. Something drawn for each image (a mask, a jitter) must
    depend neither on its place in the batch nor on its rank: draw one number from `generator`, and seed a
    generator for each image with it and the image's name,
    `torch.Generator().manual_seed(zlib.crc32(f"{number} {name}".encode()))`.

    settings   the plugin's settings, as overridden by the round
    round      which round this is
    index      optimiser steps done in this round
    micro      number of the micro-batch within the step
    model      what `build_model` returned, unwrapped
    source     the source batch, or None if the round does not draw it
    target     the target batch, or None if the round does not draw it
    kept       a dict for one micro-batch: what `source_loss` leaves for `target_loss`
    generator  random numbers on the CPU, seeded by run seed, round, step and micro-batch; alike on all ranks
    record     record(name, value) notes a number that trains nothing; a tensor is
               read only when it is printed
    """

    settings: Any
    round: RoundInfo
    index: int
    micro: int
    model: Any
    source: SourceBatch | None
    target: TargetBatch | None
    kept: dict[str, Any] = attrs.field(factory=dict)
    generator: torch.Generator
    record: Callable[[str, Any], None]


@attrs.frozen(kw_only=True)
class PassBatch:
    """Images of a pass at a round's end, each image once, in list order, without random transform.

    image  N 3 H W float32, normalised, on the model's device
    label  N H W int64 (source only; None if labels were not asked for)
    name   N keys
    size   N pairs (height, width): each image's size on disk, in pixels
    set    N names, as in SourceBatch
    """

    image: Tensor
    label: Tensor | None
    name: tuple[str, ...]
    size: tuple[tuple[int, int], ...]
    set: tuple[str, ...] = ()


class RoundEnd(Protocol):
    """What `on_round_end` and `make_pseudo_labels` get. The model is in evaluation mode
    and no gradient is kept.

    `source(size=..., batch=..., labels=True, images=True)` and `target(size=..., batch=...)` give a fresh
    pass each time they are iterated; each rank sees its own share. `size` is (width, height) of the input;
    default: the round's own fixed size. Random states and train/eval modes are the same after a pass as
    before.
    """

    model: Any
    settings: Any
    round: RoundInfo
    folder: Path
    device: torch.device
    pseudo_labels: Any

    def source(self, *, size: tuple[int, int] | None = None, batch: int = 1, labels: bool = True, images: bool = True) -> Iterable[PassBatch]:
        """Each source image of this rank once, in list order."""

    def target(self, *, size: tuple[int, int] | None = None, batch: int = 1) -> Iterable[PassBatch]:
        """Each target image of this rank once, in list order."""

    def source_key(self) -> str:
        """Names the source's labels: changes with their list, classes, label map and files. For caches."""

    def write_image(self, name: str, image: np.ndarray) -> None:
        """Write H W 3 uint8 under an image's name, for a later round whose `source.images` names this one."""

    def record(self, name: str, value: Any) -> None:
        """Note a number of this round's end."""


Losses = Tensor | Mapping[str, Tensor] | None
"""A scalar, or scalars by name: `name` trains the segmenter, `part/name` the part. A loss hook
returns it, or yields several."""
