"""Weights of timm's networks: through timm's and torch's caches, or from a file as
timm's authors publish it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from udacore.config.schema import TIMM
from udacore.errors import ConfigError, list_names, one_line
from udacore.models.timm_backbones import TimmBackbone, import_timm

log = logging.getLogger(__name__)


def read_pretrained(backbone: TimmBackbone, where: str | None, state: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The entries of `backbone.net` in timm's weights: those it fetches, or the `state` of a
    file that lies at `where`.

    timm's own conversion is used: names of older files, position embeddings of another number of patches.
    ConfigError for weights that cannot be had, do not fit, or leave a random weight of the network as it was.
    """
    recipe, said = backbone.recipe, where or f"initial: timm: {TIMM}{backbone.recipe.name}"
    overlay = {} if state is None else {"pretrained_cfg_overlay": {"state_dict": dict(state)}}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        plain = dict(recipe.create().named_parameters())
        torch.default_generator.manual_seed(0)
        try:
            net = recipe.create(pretrained=True, **overlay)
        except Exception as error:  # of networks, hubs, caches and files: a dozen libraries raise their own kinds
            reason = one_line(f"{type(error).__name__}: {error}", 120)
            if state is None:
                raise ConfigError(f"{said}: timm's weights cannot be had ({reason}); {describe_file(recipe.name)}") from error
            raise ConfigError(f"{said}: timm's {recipe.name!r} does not take these weights ({reason})") from error
    # From the same seed both began alike, so a weight that is still alike was not in the file.
    left = [
        name
        for name, value in net.named_parameters()
        if torch.equal(value, plain[name]) and bool(value.max() > value.min())
    ]
    if left:
        raise ConfigError(f"{said}: holds nothing for {len(left)} weights of timm's {recipe.name!r}, the first {list_names(left[:1])}")
    log.info("timm:%s begins with %s", recipe.name, where or "timm's weights")
    return dict(net.state_dict())


def describe_file(name: str) -> str:
    """Which file timm's weights of a network are, its digest as far as its name tells, and the ways
    out where it cannot be had."""
    found = find_config(name)
    address = found.get("url") or ""
    if found.get("hf_hub_id"):
        file = found.get("hf_hub_filename") or "model.safetensors"
        expected, cache = f"{file} of huggingface.co/{found['hf_hub_id']}", "huggingface_hub's cache (HF_HOME)"
        digest = "timm states no digest of it"
    elif address:
        file = address.rpartition("/")[2]
        expected, cache = address, str(Path(torch.hub.get_dir()) / "checkpoints")
        tail = file.rpartition(".")[0].rpartition("-")[2]
        digest = f"its SHA-256 begins with {tail}" if len(tail) == 8 else "timm states no digest of it"
    else:
        return f"timm has none for {name!r}; give a file, or set initial: random"
    return f"the file is {expected}, {digest}; put it into {cache}, name it under initial, or set initial: random"


def find_config(name: str) -> dict[str, Any]:
    """What timm knows of a network's weights: `url` or `hf_hub_id`, `license`,
    `input_size`; empty if nothing."""
    found = import_timm(name).get_pretrained_cfg(name)
    return {} if found is None else dict(found.to_dict())
