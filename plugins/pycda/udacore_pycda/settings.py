"""What the method lets its users choose: the `method:` section of a file, for the
whole run or for a round."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np

from udacore import MethodSettings, option
from udacore.config.transforms import Crop, Flip, Resize, ResizeShortSide, Rotate, Scale, Zoom


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    """Published values as defaults (algorithms/pycda 9)."""

    network: Literal["ppm", "core"] = option("ppm", "ppm: dilated ResNet with pyramid pooling and an auxiliary head; core: the segmenter of `model.name`")
    encoder: Literal["resnet101", "resnet50", "resnet18", "tiny"] = option("resnet101", "ppm only: depth of the deep-stem ResNet; tiny: for tests")
    batch_norm: Literal["cumulative", "cumulative-fused", "core"] = option(
        "cumulative",
        "cumulative: batch statistics over all processes, stored as a cumulative mean; cumulative-fused: the same by torch's own kernel, whose "
        "epsilon is added; core: the layers of `model.batch_norm`",
    )
    adapt: Literal["none", "statistics", "pyramid"] = option(
        "none", "what target batches are for; statistics: forwards alone, which move batch-norm statistics (AdaBN, conversion); pyramid: the loss"
    )
    reset: bool = option(False, "clear the stored batch-norm statistics before the round's first step")
    lambda_trade_off: float = option(1.0, "weight of the source's loss", at_least=0)
    lambda_aux: float = option(0.4, "weight of the auxiliary head's cross-entropy, where the network has one", at_least=0)
    threshold: float = option(0.5, "pixels and squares take part if their largest probability is above it", at_least=0, at_most=1)
    box_sizes: tuple[int, ...] = option((4, 8), "sides of the squares, in pixels of the input", at_least=2)
    merge_pixels: bool = option(False, "pixels join the mean over the squares, in place of a loss of their own")
    lambda_pseudo: float = option(1.0, "weight of the pixels' and of the squares' loss", at_least=0)
    lambda_balance: float = option(1.0, "weight of the image level's loss", at_least=0)
    lambda_spatial: float = option(0.0, "weight of the squares' loss against the source's classes at that place; needs the spatial prior", at_least=0)
    image_target: Literal["uniform", "source_histogram"] = option(
        "uniform", "what the mean prediction of a batch is drawn to: 1/K each, as the published program computes, or the source's class frequencies"
    )
    source_statistics: bool = option(False, "at the round's end, count the classes of the source's labels at every position: histogram and spatial prior")
    prior_size: tuple[int, int] | None = option(
        None, "width and height for that, the target's input; default: the source's resize", at_least=1, at_most=2**15
    )
    prior: str | None = option(None, "file of the spatial prior: .npz of such a round, or .npy of H W C counts or frequencies, as the authors have it")
    histogram: str | None = option(None, "text file of the source's class frequencies, in the order of the classes")

    def _find_problems(self, round: Any) -> Iterator[tuple[str, str]]:
        """With the spatial ratio a place of the target's input has to be a place of the
        prior (algorithms/pycda 5.4)."""
        if self.adapt != "pyramid" or not self.lambda_spatial or not self.box_sizes or "target" not in round.draws:
            return
        key, given = ("prior_size", self.prior_size) if self.prior is None else ("prior", _size_in(Path(self.prior)))
        sets = getattr(round.target, "sets", {})  # of udacore 0.3 and later
        entries = {f"target.sets.{name}": entry for name, entry in sets.items()} or {"target": round.target}
        for place, entry in entries.items():
            steps = entry.transform
            size = next((step.size for step in reversed(steps.values()) if isinstance(step, Resize)), None)
            for name, step in steps.items():
                if _moves(step, size):
                    yield f"{place}.transform.{name}", f"moves images, but method.lambda_spatial compares places with the source's; possible: {name}: null"
            if size is not None and given is not None and given != size:
                yield f"method.{key}", "the spatial prior is for inputs of {} x {}, but the target is resized to {} x {}".format(*given, *size)


def _size_in(path: Path) -> tuple[int, int] | None:
    """Width and height of the prior in a file; None where there is none, which is told when it is read."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        height, width = (loaded["counts"] if isinstance(loaded, np.lib.npyio.NpzFile) else loaded).shape[:2]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return width, height


def _moves(step: object, size: tuple[int, int] | None) -> bool:
    """Whether a place of the image is another one after this step, for images of `size`."""
    if isinstance(step, Crop):
        return step.size != size
    return step.probability > 0 if isinstance(step, Flip) else isinstance(step, Scale | ResizeShortSide | Rotate | Zoom)
