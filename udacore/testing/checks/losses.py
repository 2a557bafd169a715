"""Checks of a method's losses, one call of the hooks at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from udacore.config.references import SEGMENTER
from udacore.engine.training import RoundInProgress
from udacore.errors import PluginError, UdaError
from udacore.interface import IGNORE, TargetBatch
from udacore.testing.checks.devices import OtherDevice, find_left
from udacore.testing.checks.report import ContractError
from udacore.testing.checks.trial import Loss, Pair, Stage, Trial, copy_pair, tensors_of


def check_losses_finite(trial: Trial) -> None:
    """Every loss of every round is finite on ordinary images, with weights as built."""
    for stage in trial.stages:
        work = stage.set_up()
        for index, pair in enumerate(stage.pairs):
            for loss in stage.losses(work, pair, index=index):
                if loss.tensor is not None and not torch.isfinite(loss.tensor).all():
                    value = loss.tensor.detach().flatten()[0].item()
                    raise stage.says(loss, f"= {value} on ordinary images; guard its logarithms and divisions (clamp, log_softmax, an epsilon)")


def check_losses_differentiable(trial: Trial) -> None:
    """Every loss is a scalar with a graph, and the round's `update` can carry it back to finite gradients."""
    for stage in trial.stages:
        work = stage.set_up()
        try:
            stage.take_steps(work)
        except PluginError as error:
            raise ContractError(str(error)) from error
        bad = {name for name, parameter in work.model.named_parameters() if not torch.isfinite(parameter).all()}
        try:
            work.updater.health.check(stage.name, "none")
        except UdaError as error:
            raise ContractError(f"{error}; a derivative is not finite where its loss is: look for sqrt, norm and log at 0") from error
        if bad:
            raise ContractError(f"round {stage.name!r}: {min(bad)} is not finite after two steps, though all losses and gradients were")


def check_losses_device(trial: Trial) -> None:
    """Tensors are made where the batches are, with `device=x.device`, never on the CPU by default or by
    name; losses are no float64."""
    for stage in trial.stages:
        work = stage.set_up()
        method = stage.session.method
        with OtherDevice(f"round {stage.name!r}", find_left(method.module, method.package, work.model)):
            losses = stage.losses(work, stage.pairs[0])
        for loss in losses:
            if loss.tensor is not None and loss.tensor.dtype == torch.float64:
                raise stage.says(loss, "in float64, which not every device has; make its tensors float32, like the logits, or end with .float()")
        if torch.cuda.is_available():
            moved = attrs.evolve(stage, session=attrs.evolve(stage.session, machine=attrs.evolve(stage.session.machine, device=torch.device("cuda"))))
            work = moved.set_up()
            try:
                moved.losses(work, map_tensors(stage.pairs[0], lambda value: value.to("cuda")))
            except (RuntimeError, TypeError) as error:
                raise ContractError(f"round {stage.name!r}, on CUDA: {error}; make tensors with device=x.device") from error


def check_losses_empty(trial: Trial) -> None:
    """Where no pixel is valid, a loss that looks at labels or at `valid` is zero,
    with a graph; no loss is NaN.

    Which losses those are is tried out: the ones that change when the labels or the valid pixels do.
    """
    for stage in trial.stages:
        pair = stage.pairs[0]
        usual = by_key(stage.losses(stage.set_up(), pair))
        others = [by_key(stage.losses(stage.set_up(), other)) for other in (_relabelled(pair), _half_valid(pair))]
        work = stage.set_up()
        for loss in stage.losses(work, _emptied(pair)):
            if loss.tensor is None or loss.tensor.dim():
                continue
            value = float(loss.tensor.detach())
            if value != value or value in (float("inf"), float("-inf")):
                raise stage.says(loss, f"= {value} where no pixel is valid; a mean over nothing must be 0: divide by count.clamp(min=1)")
            key = (loss.hook, loss.label)
            before = usual.get(key)
            looks = before is not None and any(key not in other or not is_close(other[key], before) for other in others)
            if looks and abs(value) > 1e-6:
                raise stage.says(loss, f"= {value:.4g} where no pixel is valid (label 255, valid False); leave those pixels out")
            if loss.tensor.requires_grad:
                _check_gradient(stage, loss, work.model)
            else:
                raise stage.says(loss, "has no graph where no pixel is valid; return logits.sum() * 0, or leave the loss out")


def _check_gradient(stage: Stage, loss: Loss, model: nn.Module) -> None:
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert loss.tensor is not None
    for gradient in torch.autograd.grad(loss.tensor, wanted, retain_graph=True, allow_unused=True):
        if gradient is not None and not torch.isfinite(gradient).all():
            raise stage.says(loss, "has a gradient that is not finite where no pixel is valid; choose the valid pixels before the division")


def check_losses_order(trial: Trial) -> None:
    """The order of the images within a batch changes no loss (both batches are turned
    round alike; dropout is off)."""
    for stage in trial.stages:
        pair = stage.pairs[0]
        with WithoutDropout():
            straight, turned, drawn = (stage.losses(stage.set_up(), each, seed=seed) for each, seed in ((pair, 1), (_turned(pair), 1), (pair, 2)))
        after, random = by_key(turned), by_key(drawn)
        for loss in straight:
            key = (loss.hook, loss.label)
            if loss.tensor is not None and not (key in after and is_close(after[key], loss.tensor, 1e-3)):
                there = f"{float(after[key].mean()):.6g}" if key in after else "not there"
                is_random = key in random and not is_close(random[key], loss.tensor)
                advice = "it draws random numbers for each image: if it must, say so in `exempt`" if is_random else "treat all images of a batch alike"
                raise stage.says(loss, f"= {float(loss.tensor.detach().mean()):.6g}, but {there} once the batch is turned round; {advice}")


class WithoutDropout(TorchFunctionMode):
    """While this is open, dropout leaves everything as it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "dropout" in getattr(func, "__name__", ""):
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs)


def check_losses_parts(trial: Trial) -> None:
    """Each loss trains its own part and nothing else: it reaches that part, and the hooks themselves
    change no parameter and no batch."""
    for stage in trial.stages:
        work = stage.set_up()
        _check_shared(stage, work.model, set(work.updater.parts))
        before = {name: parameter.detach().clone() for name, parameter in work.model.named_parameters()}
        pair = copy_pair(stage.pairs[0])
        losses = stage.losses(work, pair, copied=False)
        _check_unchanged(stage, pair)
        for name, parameter in work.model.named_parameters():
            if parameter.grad is not None:
                raise ContractError(f"round {stage.name!r}: the hooks left a gradient in {name}: do not call backward(), return or yield the loss")
            if not torch.equal(parameter, before[name]):
                raise ContractError(f"round {stage.name!r}: the hooks changed {name}: only the optimiser changes parameters; make it a buffer")
        for loss in losses:
            _check_reach(stage, loss, work)


def _check_unchanged(stage: Stage, pair: Pair) -> None:
    for domain, batch, drawn in zip(("source", "target"), pair, stage.pairs[0], strict=True):
        if batch is None or drawn is None:
            continue
        for (name, value), first in zip(tensors_of(batch).items(), tensors_of(drawn).values(), strict=True):
            if not torch.equal(value, first):
                place = f"step.{domain}.{name}"
                raise ContractError(f"round {stage.name!r}: the hooks change {place} in place, and both of them see it: change {place}.clone()")


def _check_reach(stage: Stage, loss: Loss, work: RoundInProgress) -> None:
    """The part is trained by this round, and the loss has a derivative by some of its parameters."""
    part = work.updater.parts.get(loss.part)
    if part is None:
        advice = f"it trains: {', '.join(work.updater.parts)}"
        if loss.part in work.model._modules and loss.part not in work.config.parts:
            advice = f"give `{loss.part}` an entry under `parts:` in the preset"
        raise stage.says(loss, f"for the part {loss.part!r}, which this round does not train; {advice}")
    if loss.tensor is None or not loss.tensor.requires_grad or loss.tensor.dim():
        return
    gradients = torch.autograd.grad(loss.tensor, part.parameters, retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in gradients):
        instead = sorted(set(work.updater.parts) - {SEGMENTER, loss.part})
        hint = f", or name it after the part that it trains ({', '.join(f'{name}/...' for name in instead)})" if instead else ""
        raise stage.says(loss, f"which reaches no parameter of its part {loss.part!r}; do not detach what it is made of{hint}")


def _check_shared(stage: Stage, model: nn.Module, trained: set[str]) -> None:
    owners: dict[int, tuple[str, str]] = {}
    children = set(stage.config.parts) & set(model._modules)  # `named_children` gives a module once
    for name, parameter in model.named_parameters(remove_duplicate=False):
        child = name.partition(".")[0]
        part = child if child in children else SEGMENTER
        first = owners.setdefault(id(parameter), (part, name))
        if first[0] != part and {first[0], part} & trained:
            raise ContractError(f"round {stage.name!r}: {first[1]} and {name} are one parameter in two parts; give each part its own")


def check_target_batch(trial: Trial) -> None:
    """No label of the target is asked for: the batch has none."""
    for stage in trial.stages:
        asked: list[str] = []
        source, target = stage.pairs[0]
        if target is None:
            continue
        with contextlib.suppress(AttributeError):
            stage.losses(stage.set_up(), (source, watched(target, asked)))
        if asked:
            raise ContractError(
                f"round {stage.name!r}: a hook asks the target batch for {asked[0]!r}; it has no label, only image, name, valid and pseudo_label"
            )


class _WatchedTarget(TargetBatch):
    """A target batch that remembers for what it was asked in vain."""

    __slots__ = ("__dict__",)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self.__dict__.setdefault("asked", []).append(name)
        raise AttributeError(f"a target batch has no {name!r}")


def watched(target: TargetBatch, asked: list[str]) -> TargetBatch:
    """The same batch, noting in `asked` each attribute that it does not have."""
    batch = _WatchedTarget(image=target.image, name=target.name, valid=target.valid, pseudo_label=target.pseudo_label)
    batch.__dict__["asked"] = asked
    return batch


def by_key(losses: list[Loss]) -> dict[tuple[str, str], Tensor]:
    """The losses that are tensors by hook and name, those of different yields apart."""
    return {(loss.hook, loss.label): loss.tensor.detach() for loss in losses if loss.tensor is not None}


def is_close(one: Tensor, other: Tensor, relative: float = 1e-5) -> bool:
    """Whether two losses agree but for rounding."""
    return one.shape == other.shape and torch.allclose(one.double(), other.detach().double(), rtol=relative, atol=1e-7, equal_nan=True)


def _emptied(pair: Pair) -> Pair:
    source, target = pair
    if source is not None:
        source = attrs.evolve(source, label=torch.full_like(source.label, IGNORE), valid=torch.zeros_like(source.valid))
    if target is not None:
        pseudo_label = None if target.pseudo_label is None else torch.full_like(target.pseudo_label, IGNORE)
        target = attrs.evolve(target, valid=torch.zeros_like(target.valid), pseudo_label=pseudo_label)
    return source, target


def _relabelled(pair: Pair) -> Pair:
    """Other labels on the same images: those of the batch, each image's upside down."""

    def flip(label: Tensor) -> Tensor:
        return label.flip(1).contiguous()

    source, target = pair
    if source is not None:
        source = attrs.evolve(source, label=flip(source.label))
    if target is not None and target.pseudo_label is not None:
        target = attrs.evolve(target, pseudo_label=flip(target.pseudo_label))
    return source, target


def _half_valid(pair: Pair) -> Pair:
    """The left half of every image is padding."""

    def halve(batch: Any, key: str) -> Any:
        if batch is None:
            return None
        valid = batch.valid.clone()
        valid[..., : valid.shape[-1] // 2] = False
        label = getattr(batch, key)
        return attrs.evolve(batch, valid=valid, **({} if label is None else {key: label.where(valid, IGNORE)}))

    return halve(pair[0], "label"), halve(pair[1], "pseudo_label")


def _turned(pair: Pair) -> Pair:
    """The last image first, in both batches."""

    source, target = map_tensors(pair, lambda value: value.flip(0).contiguous())
    return _with_names(source, reversed), _with_names(target, reversed)


def renamed(pair: Pair, folder: str) -> Pair:
    """The same images in a folder of another name."""
    source, target = (_with_names(batch, lambda names: (f"{folder}/{name}" for name in names)) for batch in pair)
    return source, target


def _with_names(batch: Any, change: Callable[[tuple[str, ...]], Iterable[str]]) -> Any:
    return batch and attrs.evolve(batch, name=tuple(change(batch.name)))


def map_tensors(pair: Pair, change: Callable[[Tensor], Tensor]) -> Pair:
    """Both batches with `change` made to each of their tensors."""

    def changed(batch: Any) -> Any:
        if batch is None:
            return None
        return attrs.evolve(batch, **{name: change(value) for name, value in tensors_of(batch).items()})

    return changed(pair[0]), changed(pair[1])
