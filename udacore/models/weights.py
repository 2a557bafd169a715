"""Strict loading of weights by name and shape: from ImageNet, a file, or a state_dict."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError, DataError, one_line
from udacore.models.channels import fit_channels
from udacore.models.families import (
    OWN,
    OwnFiles,
    State,
    convert_backbone,
    describe_expected,
    is_torchvisions,
    recognize_family,
    untouched_by_imagenet,
)
from udacore.models.fitting import describe_mismatch, find_unequal, reshape_buffers
from udacore.models.plain_files import load_plain
from udacore.models.timm_backbones import TimmBackbone
from udacore.models.timm_weights import read_pretrained
from udacore.models.unwrapping import unwrap
from udacore.places import find_place, is_file

log = logging.getLogger(__name__)
_SEGMENTER = ("backbone", "classifier")


@attrs.frozen(kw_only=True)
class Loaded:
    """What loading did.

    where       the file or round that the weights came from
    family      kind of file, such as 'torchvision ResNet-101'; empty for a state_dict
    missing     entries of the model that stayed as built
    unexpected  entries of the file that the model has no module for
    """

    where: str
    family: str = ""
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load_initial(
    model: nn.Module, source: str, architecture: ModelConfig, sha256: str | None = None, *, leave: Sequence[str] = ()
) -> Loaded:
    """Fill the segmenter with initial weights, in place.

    model         a module whose children `backbone` and `classifier` are those of `build_segmenter`
    source        imagenet (torchvision's file, fetched once into TORCH_HOME), timm (its weights, through its
                  caches), random (as built), or a file: ImageNet weights of a family that fits, or of a backbone
                  that reads its own (`udacore.models.OwnFiles`), or a udacore checkpoint
    architecture  which network it is
    sha256        digest of the file, or its first digits; by default those in the file's
                  name, as in `-63fe2227.pth`

    leave         children that stay as built though a udacore checkpoint holds them, such as `classifier`

    Raises ConfigError for a file that is missing, of another family, or has keys too many or too few, and
    what `read_state` raises.
    """
    if source == "random":
        return Loaded(where="random")
    backbone = getattr(model, "backbone", None)
    if source == "timm" and not isinstance(backbone, TimmBackbone):
        raise ConfigError("initial: timm: this round's network is none of timm's; possible: imagenet, random, a file")
    if source == "timm" and isinstance(backbone, TimmBackbone):
        return _load_timm(backbone, None, None)
    if source == "imagenet":
        if not is_torchvisions(backbone):
            raise ConfigError(f"initial: imagenet: torchvision's weights do not fit this network; give a file: {describe_expected(backbone)}")
        where, state = _fetch_imagenet(architecture)
    else:
        if backbone is not None and not is_file(find_place(source)):
            raise ConfigError(f"{source}: no such file of weights; expected {describe_expected(backbone)}")
        where, state = source, read_state(Path(source), sha256)
    family = recognize_family(state)
    if backbone is None:
        raise ConfigError(f"{where}: {family}, but this method's model has no backbone to load it into; use initial: random")
    if family == OWN:
        held = {key: value for key, value in state.items() if _child(key) in _SEGMENTER and _child(key) not in leave}
        left = tuple(key for key in state if key not in held)
        loaded = load_children(model, held, where=where)
        return attrs.evolve(loaded, family=family, unexpected=loaded.unexpected + left)
    if isinstance(backbone, TimmBackbone):
        return _load_timm(backbone, where, state)
    origin = where if isinstance(backbone, OwnFiles) else f"{where} ({family})"
    spared = {key: value for key, value in backbone.state_dict().items() if key.startswith(untouched_by_imagenet(backbone))}
    loaded = load_state(backbone, {**spared, **convert_backbone(state, family, backbone, where)}, where=origin)
    if loaded.missing or loaded.unexpected:
        raise ConfigError(describe_mismatch(origin, loaded.missing, loaded.unexpected))
    return Loaded(where=where, family=family, missing=tuple(spared))


def _load_timm(backbone: TimmBackbone, where: str | None, state: State | None) -> Loaded:
    """Fill the network of timm; the neck stays as built. `state`: of the file at `where`;
    None: timm's own weights."""
    origin = where or f"timm:{backbone.recipe.name}"
    loaded = load_state(backbone.net, read_pretrained(backbone, where, state), where=origin)
    return attrs.evolve(loaded, family="timm", missing=(*loaded.missing, *backbone.neck.state_dict()))


def load_children(model: nn.Module, state: State, *, where: str) -> Loaded:
    """`load_state` for a state that holds only some direct children of `model`, each whole;
    the others stay as built."""
    held = {_child(key) for key in state}
    rest = {key: value for key, value in model.state_dict().items() if _child(key) not in held}
    loaded = load_state(model, {**rest, **state}, where=where)
    return attrs.evolve(loaded, missing=loaded.missing + tuple(rest))


def load_state(model: nn.Module, state: State, *, where: str) -> Loaded:
    """Load a state_dict in place: parameters strictly by name and shape, buffers
    with the shape that was saved.

    Batch-norm layers of one mode take the entries of another. Buffers that the state lacks stay as built and
    are listed, and so are entries of children that the model does not have. `where` names the source in
    messages.

    Raises ConfigError, one line, if a parameter is missing, has another shape or kind of number, the
    statistics of a layer have another shape, or an entry of a child that the model has is unknown to it: that
    is another architecture.
    """
    state = fit_channels(model, state, where)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    unequal = find_unequal(model, state)
    if unequal:
        raise ConfigError(describe_mismatch(where, unequal=unequal))
    try:
        reshape_buffers(model, state)
        missing, unexpected = model.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:  # what else torch may find in a file that others made
        raise ConfigError(f"{where}: weights that the model does not take: {one_line(str(error), 200)}") from error
    lacking = [key for key in missing if key in parameters]
    children = {name for name, _ in model.named_children()}
    foreign = [key for key in unexpected if _child(key) in children and not key.endswith(".num_batches_tracked")]
    if lacking or foreign:
        raise ConfigError(describe_mismatch(where, lacking, foreign))
    return Loaded(where=where, missing=tuple(missing), unexpected=tuple(unexpected))


def _child(key: str) -> str:
    """The direct child that an entry belongs to; an entry of the model itself stands for itself."""
    return key.partition(".")[0]


def read_state(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state_dict in a file, never unpickled; without the entries and prefixes
    that wrappers put around it.

    Raises ConfigError for a file that is missing or has another SHA-256, DataError for one that is damaged,
    holds tensors that are sparse, quantized or without values, or holds no state_dict.
    """
    state, taken_off = unwrap(read_file(path, sha256), str(path))
    if taken_off:
        log.info("%s: %s taken off", path, " and ".join(taken_off))
    return state


def read_file(path: Path, sha256: str | None = None) -> Any:
    """What torch.save wrote: tensors and plain values only. Raises ConfigError as `read_state` does."""
    path = find_place(str(path))
    if not is_file(path):
        raise ConfigError(f"{path}: no such file of weights")
    named = re.search(r"-([0-9a-f]{8,64})\.[^.]+$", path.name)
    expected = sha256 or (named[1] if named else "")
    if expected:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not found.startswith(expected.lower()):
            raise ConfigError(f"{path}: its SHA-256 begins with {found[: len(expected)]}, not with {expected}: damaged, or another file")
    try:
        return load_plain(path)
    except ValueError as error:
        raise DataError(f"{path}: not readable as weights ({error})") from error


def imagenet_url(name: str) -> str | None:
    """Where ImageNet weights of a network are fetched from, or None; the file's name holds the
    first digits of its SHA-256."""
    # As long to import as torch itself, and only needed here.
    from torchvision.models import ResNet101_Weights, VGG16_Weights

    weights = {"deeplab-resnet101": ResNet101_Weights.IMAGENET1K_V1, "deeplab-vgg16": VGG16_Weights.IMAGENET1K_V1}
    return str(weights[name].url) if name in weights else None


def _fetch_imagenet(architecture: ModelConfig) -> tuple[str, State]:
    """torchvision's file for a network, through torch's own cache. ConfigError where it cannot be had."""
    url = imagenet_url(architecture.name)
    if url is None:
        raise ConfigError(f"initial: imagenet: model {architecture.name!r} has no ImageNet weights; use initial: random")
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    way_out = f"put {path.name} into {path.parent} (TORCH_HOME moves it), name a file under initial, or set initial: random"
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch announces a download there; ours is for results
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True, weights_only=True)
    except Exception as error:
        if path.exists():
            raise ConfigError(f"{path}: not readable as weights ({type(error).__name__}); remove it or {way_out}") from error
        if not isinstance(error, OSError | RuntimeError | http.client.HTTPException):
            raise
        raise ConfigError(f"initial: imagenet: {url} could not be fetched ({' '.join(str(error).split())}); {way_out}") from error
    return str(path), state


def first_number(name: str) -> int | None:
    """The first number in a file's name: the steps of `model_iter004000.pth`."""
    found = re.search(r"\d+", name)
    return int(found[0]) if found else None
