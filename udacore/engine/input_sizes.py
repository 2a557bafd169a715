"""The sizes of images that a round's network will meet, compared and tried before the first step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from udacore import ranks
from udacore.config.schema import TIMM
from udacore.config.sets import each_set
from udacore.data.mixture import tables_of
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
                backbone(torch.zeros(1, round.config.model.channels, height, width, device="meta"))
        except ConfigError as error:
            raise ConfigError(f"{said}{error}") from error
        except NotImplementedError:  # an operation of the network that torch cannot do on shapes alone
            return
        except Exception as error:  # each network has its own words for it
            if "meta" in str(error):
                return
            reason = one_line(str(error), 150)
            raise ConfigError(f"{said}{TIMM}{backbone.recipe.name} takes no image of {width} x {height}: {reason}") from error


def check_sets_alike(round: Round) -> None:
    """ConfigError that names two sets of a domain whose images have different sizes, so that they cannot
    be in one batch."""
    if round.config.batch // (round.config.accumulation * ranks.size()) < 2:
        return
    for domain in round.config.draws:
        if not (round.config.source if domain == "source" else round.config.target).sets:
            continue
        (first, size), *others = find_sizes(round, domain).items()
        for place, other in others:
            if other != size:
                raise ConfigError(
                    f"rounds.{round.name}.{place}.transform: gives images of {other[1]} x {other[0]}, that of {first} "
                    f"{size[1]} x {size[0]}, and a batch has images of one size; possible: a resize or crop step to one size"
                )


def find_sizes(round: Round, domain: str) -> dict[str, Size]:
    """Setting -> size of the first image of each data set of a domain, after its transforms."""
    entries = each_set(domain, round.config.source if domain == "source" else round.config.target)
    found = {}
    for place, table in tables_of(round.drawn()[domain], domain).items():
        sample = apply_transforms(Sample(image=table.read_image(0)), entries[place].transform, np.random.default_rng(0))
        found[place] = (sample.image.shape[0], sample.image.shape[1])
    return found


def list_sizes(round: Round) -> Iterator[tuple[str, Size]]:
    """Setting and size of the images of each domain that is drawn, after its
    transforms, and of each evaluation."""
    for domain in round.config.draws:
        yield from find_sizes(round, domain).items()
    for data in round.evaluation_sets():
        config = data.config
        whole = (config.size[1], config.size[0]) if config.size else data.table.size(0)
        for scale in config.scales:
            height, width = (max(1, int(side * scale)) for side in whole)
            if config.window:
                height, width = min(height, config.window[1]), min(width, config.window[0])
            yield f"evaluate.{data.name}", (height, width)
