"""Frozen parts and tensors: filled from a file of their own, in no checkpoint; the file's SHA-256 is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from udacore.config.references import SEGMENTER, ImageNet, Random, Timm, initial_of
from udacore.config.schema import PartConfig, RoundConfig
from udacore.engine.optimisation.parts import part_of, present_parts
from udacore.errors import ConfigError, DataError
from udacore.models import VGG16, ResNet
from udacore.models.families import OWN, OwnFiles
from udacore.models.timm_backbones import TimmBackbone
from udacore.models.weights import load_initial, load_state, read_file, read_state
from udacore.places import find_place, is_file

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@attrs.define
class Frozen:
    """What of a model stands in files of its own.

    entries  of the state_dict, which no checkpoint of the round holds
    files    SHA-256 of each part's file
    """

    entries: set[str] = attrs.field(factory=set)
    files: dict[str, str] = attrs.field(factory=dict)

    def add(self, part: str, entries: set[str], file: Path) -> None:
        """Note what a part's file has filled."""
        if entries:
            self.entries |= entries
            with file.open("rb") as content:
                self.files[part] = hashlib.file_digest(content, "sha256").hexdigest()

    def keep(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state_dict without these entries."""
        return {name: value for name, value in state.items() if name not in self.entries}

    def complete(self, model: nn.Module, state: Mapping[str, Tensor], recorded: Mapping[str, str], where: str) -> dict[str, Tensor]:
        """A state_dict of a checkpoint with what it left out, from the model as its files filled it.

        recorded  the digests in that checkpoint
        Raises DataError, which begins with `where`, if a file has another content now.
        """
        self.verify(recorded, where)
        own = model.state_dict()
        return {**{name: own[name] for name in self.entries if name in own}, **state}

    def verify(self, recorded: Mapping[str, str], where: str) -> None:
        """DataError if a file is not the one of the checkpoint."""
        for part, digest in recorded.items():
            now = self.files.get(part, digest)
            if now != digest:
                change = f"its SHA-256 began with {digest[:12]} and is now {now[:12]}"
                raise DataError(f"{where}: the frozen weights of the part {part!r} are in a file that has changed: {change}; bring back that file")


def verify_file(frozen: Frozen, path: Path) -> None:
    """DataError if a checkpoint, from whichever run, was made with another file than
    the one that filled the model."""
    content = read_file(path) if frozen.files else None
    recorded = content.get("frozen") if isinstance(content, Mapping) and {"format", "model"} <= content.keys() else None
    if isinstance(recorded, Mapping):
        frozen.verify({str(part): str(digest) for part, digest in recorded.items()}, str(path))


def is_frozen(part: str, config: RoundConfig) -> bool:
    """Whether a part as a whole is frozen."""
    return config.parts.get(part, PartConfig()).frozen


def find_frozen(model: nn.Module, config: RoundConfig) -> dict[str, str]:
    """The entries of the state_dict that are frozen -> their part: all of a frozen part, and
    parameters that `freeze` names."""
    found = {}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name in model.state_dict():
        part = part_of(name, model, config)
        settings = config.parts.get(part, PartConfig())
        if settings.frozen or (name in parameters and any(re.search(pattern, name) for pattern in settings.freeze)):
            found[name] = part
    return found


def fill_frozen(model: nn.Module, config: RoundConfig) -> Frozen:
    """Fill what is frozen from the files that `initial` names, and give frozen parts their precision."""
    frozen, names = Frozen(), find_frozen(model, config)
    for part in present_parts(model, config):
        wanted = {name for name, owner in names.items() if owner == part}
        if wanted:
            filled, file = fill_part(model, part, config)
            if file is not None:
                frozen.add(part, wanted & filled, file)
    settle_frozen(model, config)
    return frozen


def fill_part(model: nn.Module, part: str, config: RoundConfig) -> tuple[set[str], Path | None]:
    """Load what `initial` names for a part; the entries of the state_dict that were filled, and
    the file, None for none."""
    weights = initial_of(config, part)
    if isinstance(weights, Random):
        return set(), None
    word = "imagenet" if isinstance(weights, ImageNet) else "timm" if isinstance(weights, Timm) else weights.word
    if part == SEGMENTER:
        filled, where = _load_network(model, word, config, config.initial_sha256, config.weights_except)
        return filled, _file(where)
    child = model.get_submodule(part)
    if is_frozen(part, config) and (word in ("imagenet", "timm") or _is_initial_file(child, word)):
        holder = child
        if not hasattr(child, "backbone"):
            holder = nn.Module()
            holder.backbone = child
        filled, where = _load_network(holder, word, config)
        own = {name if holder is child else name.removeprefix("backbone.") for name in filled}
    else:
        loaded = load_state(child, read_state(Path(word)), where=word)
        own, where = set(child.state_dict()) - set(loaded.missing), word
    return {f"{part}.{name}" for name in own}, _file(where)


def _file(where: str) -> Path | None:
    """The file that weights came from; None for timm's own, which timm keeps."""
    return find_place(where) if is_file(find_place(where)) else None


def _load_network(
    model: nn.Module, word: str, config: RoundConfig, sha256: str | None = None, leave: Sequence[str] = ()
) -> tuple[set[str], str]:
    """Load a backbone, or a whole segmenter from a file of udacore; the entries that
    were filled, and the file."""
    loaded = load_initial(model, word, config.model, sha256, leave=leave)
    if loaded.family == OWN:
        return {name for name in model.state_dict() if name.startswith(("backbone.", "classifier."))} - set(loaded.missing), loaded.where
    if loaded.family == "timm":  # its neck is the core's
        inside = {name for name in model.state_dict() if name.startswith("backbone.net.")}
        return inside - {f"backbone.net.{name}" for name in loaded.missing}, loaded.where
    return {name for name in model.state_dict() if name.startswith("backbone.")} - {f"backbone.{name}" for name in loaded.missing}, loaded.where


def _is_initial_file(child: nn.Module, word: str) -> bool:
    """Whether a file is one from which a segmenter starts, and not the child's own state_dict."""
    if not isinstance(getattr(child, "backbone", child), ResNet | VGG16 | TimmBackbone | OwnFiles):
        return False
    state = read_state(Path(word))
    parameters = {name for name, _ in child.named_parameters()}
    return not state.keys() >= parameters or any(name.partition(".")[0] not in dict(child.named_children()) for name in state)


def settle_frozen(model: nn.Module, config: RoundConfig) -> None:
    """Give frozen parts the precision that they say; what they take and give stays float32."""
    for part in present_parts(model, config):
        settings = config.parts.get(part, PartConfig())
        if settings.frozen:
            child = model.get_submodule(part).requires_grad_(False).eval()
            if settings.dtype is not None and settings.dtype != "float32":
                child.to(DTYPES[settings.dtype])
                child.register_forward_pre_hook(_narrow, with_kwargs=True)
                child.register_forward_hook(_widen)


def _narrow(child: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    own = next((value.dtype for value in (*child.parameters(), *child.buffers()) if value.is_floating_point()), torch.float32)
    return _cast(arguments, own), _cast(named, own)


def _widen(child: nn.Module, arguments: Any, output: Any) -> Any:
    return _cast(output, torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating tensors in nested values as `dtype`."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _cast(inner, dtype) for key, inner in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_cast(inner, dtype) for inner in value)
    if attrs.has(type(value)):
        return attrs.evolve(value, **{field.name: _cast(getattr(value, field.name), dtype) for field in attrs.fields(type(value))})
    return value


def share_frozen(model: nn.Module, config: RoundConfig) -> None:
    """Let copies of the model inside of it, such as a teacher, use its frozen parts: they need no
    copy of what never changes."""
    names = [part for part in present_parts(model, config) if part != SEGMENTER and is_frozen(part, config)]
    for module in model.modules() if names else ():
        if module is not model and type(module) is type(model):
            for name in names:
                if module._modules.pop(name, None) is not None:
                    object.__setattr__(module, name, model._modules[name])


def check_freeze(model: nn.Module, config: RoundConfig, part: str) -> None:
    """ConfigError for a pattern of `freeze` that no parameter of the part matches."""
    own = [name for name, _ in model.named_parameters() if part_of(name, model, config) == part]
    for pattern in config.parts.get(part, PartConfig()).freeze:
        if own and not any(re.search(pattern, name) for name in own):
            raise ConfigError(f"parts.{part}.freeze: no parameter matches {pattern!r}; the first is {own[0]!r}")
