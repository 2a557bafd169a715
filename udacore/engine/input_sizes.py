"""The sizes of images that a round's network will meet, tried on a network of timm before the first step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from udacore.config.schema import TIMM
from udacore.data.transforms import Sample, apply_transforms
from udacore.engine.initial_weights import build_model
from udacore.engine.rounds import Round
from udacore.errors import ConfigError, one_line
from udacore.models.timm_backbones import TimmBackbone

Size = tuple[int, int]
"""(height, width)"""


def try_sizes(round: Round) -> None:
    """ConfigError that names round and set where a network of timm takes no images of a
    size that it will be given.

    Shapes alone are computed, so this costs neither time nor memory; a network that cannot do
    without values is not tried.
    """
    if not round.config.model.name.startswith(TIMM):
        return
    backbone = getattr(build_model(round, round.info()), "backbone", None)
    if not isinstance(backbone, TimmBackbone):
        return  # a method with a network of its own
    backbone.to("meta").eval()
    for place, (height, width) in list_sizes(round):
        said = f"rounds.{round.name}.{place}: "
        try:
            with torch.no_grad():
                backbone(torch.zeros(1, 3, height, width, device="meta"))
        except ConfigError as error:
            raise ConfigError(f"{said}{error}") from error
        except NotImplementedError:  # an operation of the network that torch cannot do on shapes alone
            return
        except Exception as error:  # each network has its own words for it
            if "meta" in str(error):
                return
            reason = one_line(str(error), 150)
            raise ConfigError(f"{said}{TIMM}{backbone.recipe.name} takes no image of {width} x {height}: {reason}") from error


def list_sizes(round: Round) -> Iterator[tuple[str, Size]]:
    """Setting and size of the images of each domain that is drawn, after its
    transforms, and of each evaluation."""
    for domain, table in round.drawn().items():
        entry = round.config.source if domain == "source" else round.config.target
        sample = apply_transforms(Sample(image=table.read_image(0)), entry.transform, np.random.default_rng(0))
        height, width = sample.image.shape[:2]
        yield domain, (height, width)
    for data in round.evaluation_sets():
        config = data.config
        whole = (config.size[1], config.size[0]) if config.size else data.table.size(0)
        for scale in config.scales:
            height, width = (max(1, int(side * scale)) for side in whole)
            if config.window:
                height, width = min(height, config.window[1]), min(width, config.window[0])
            yield f"evaluate.{data.name}", (height, width)
