"""Checks that a method keeps its state in the model alone and leaves the process unchanged."""

from __future__ import annotations

import copy
import io
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from udacore.engine.training import RoundInProgress
from udacore.errors import PluginError, UdaError
from udacore.models.weights import load_state
from udacore.testing.checks.losses import by_key, is_close, renamed
from udacore.testing.checks.report import ContractError, flat
from udacore.testing.checks.trial import Stage, Trial

SLOW = 10.0
"""Seconds in which the small model of a round is built on a CPU."""


def check_build(trial: Trial) -> None:
    """Every round's model is built on the CPU in seconds, gives logits for each class, and has the
    attributes that the core reads."""
    for stage in trial.stages:
        began = time.monotonic()
        try:
            work = stage.set_up()
        except (PluginError, UdaError) as error:
            raise ContractError(f"round {stage.name!r}: {flat(error)}") from error
        took = time.monotonic() - began
        if took > SLOW:
            raise ContractError(f"round {stage.name!r}: build_model took {took:.0f} s; load files and count data elsewhere, the core loads weights afterwards")
        elsewhere = [name for name, value in (*work.model.named_parameters(), *work.model.named_buffers()) if value.device.type != "cpu"]
        if elsewhere:
            raise ContractError(f"round {stage.name!r}: {elsewhere[0]} was not built on the CPU; leave devices to the core")
        _check_output(stage, work.model)


def _check_output(stage: Stage, model: nn.Module) -> None:
    image = next(batch.image for batch in stage.pairs[0] if batch is not None)
    logits = getattr(model(image), "logits", None)
    classes = len(stage.session.rounds[stage.name].space.classes)
    if not isinstance(logits, Tensor):
        raise ContractError(f"round {stage.name!r}: model(image) must return an Output with logits; return udacore.Output(logits=..., features=...)")
    if logits.dim() != 4 or logits.shape[:2] != (len(image), classes):
        raise ContractError(
            f"round {stage.name!r}: model(image).logits has the shape {tuple(logits.shape)}; "
            f"it must be N K h w with N = {len(image)} images and K = {classes} = len(round.classes)"
        )


def check_instances(trial: Trial) -> None:
    """Two models of a method share nothing: what one has seen, the other does not know."""
    for stage in trial.stages:
        one, other = stage.set_up(), stage.set_up()
        shared = _storages(one.model).keys() & _storages(other.model).keys()
        if shared:
            name = _storages(other.model)[min(shared)]
            raise ContractError(f"round {stage.name!r}: two models share the memory of {name}; make the tensor or module inside of build_model")
        first = stage.take_steps(one)
        second = stage.take_steps(other)
        for step, (before, after) in enumerate(zip(first, second, strict=True)):
            for term in before.keys() | after.keys():
                if not _is_same(before.get(term, []), after.get(term, [])):
                    raise ContractError(
                        f"round {stage.name!r}, step {step}: {term} is {before.get(term)} for the first model and {after.get(term)} for a second, equal one; "
                        "something is remembered outside of the model: make it a buffer, and draw random numbers from step.generator"
                    )
        _check_caches(stage)


def _check_caches(stage: Stage) -> None:
    """A network's losses on images that another one has seen are those on images that none has seen."""
    found = []
    try:
        for name, is_other in (("one", False), ("two", True), ("two", False), ("three", False)):
            work = stage.set_up()
            if is_other:
                with torch.no_grad():
                    for parameter in work.model.parameters():
                        parameter.mul_(1.5).add_(0.1)
            found.append(by_key(stage.losses(work, renamed(stage.pairs[0], name))))
    except Exception:  # a method that knows its images by name knows none of these
        return
    alone, _, after, again = found
    for key, value in alone.items():
        if key in after and key in again and is_close(value, again[key]) and not is_close(value, after[key]):
            said = f"{key[0]} gives {key[1]!r} = {float(value):.6g}, but {float(after[key]):.6g} on images that another network has seen before"
            raise ContractError(f"round {stage.name!r}: {said}; something is kept by an image's name outside of the model: make it a buffer, or do without")


def _is_same(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True))


def _storages(model: nn.Module) -> dict[int, str]:
    named = (*model.named_parameters(), *model.named_buffers())
    return {value.untyped_storage().data_ptr(): name for name, value in named if value.numel()}


def check_deep_copy(trial: Trial) -> None:
    """A deep copy of a model that has been trained is equal to it and independent of it."""
    for stage in trial.stages:
        work = stage.set_up()
        stage.take_steps(work)
        try:
            twin = copy.deepcopy(work.model)
        except Exception as error:
            raise ContractError(
                f"round {stage.name!r}: the model cannot be copied: {flat(error)}; keep tensors with a graph, files and functions out of its attributes"
            ) from error
        if _storages(work.model).keys() & _storages(twin).keys():
            raise ContractError(f"round {stage.name!r}: a deep copy of the model shares memory with it; do not write __deepcopy__ by hand")
        _compare(stage, work, twin, "a deep copy of the model; what it remembers must be its buffers, changed in place")


def check_state_dict(trial: Trial) -> None:
    """What the model's `state_dict` holds is all that it remembers: a new model
    that loads it goes on alike."""
    for stage in trial.stages:
        work = stage.set_up()
        stage.take_steps(work)
        state = work.model.state_dict()
        foreign = [name for name, value in state.items() if not isinstance(value, Tensor)]
        if foreign:
            raise ContractError(f"round {stage.name!r}: state_dict holds {foreign[0]!r}, which is no tensor; use a buffer in place of get_extra_state")
        file = io.BytesIO()
        torch.save({name: value.detach().clone() for name, value in state.items()}, file)
        file.seek(0)
        twin = stage.set_up().model
        try:
            load_state(twin, torch.load(file, weights_only=True), where="its own state_dict")
        except (UdaError, RuntimeError) as error:
            raise ContractError(f"round {stage.name!r}: a new model does not take the state_dict of a trained one: {flat(error)}") from error
        advice = f"register what it remembers with register_buffer, changed in place{_fleeting(work.model)}"
        _compare(stage, work, twin, f"a new model that loaded its state_dict; {advice}")


def _fleeting(model: nn.Module) -> str:
    """Names the buffers that no state_dict holds, if there are any."""
    names = [name for name in dict(model.named_buffers()) if name not in model.state_dict()]
    return f", and without persistent=False, as {', '.join(names)} is" if names else ""


def _compare(stage: Stage, work: RoundInProgress, twin: nn.Module, what: str) -> None:
    """The next losses of a model and of its twin, which must be equal."""
    trained = work.model
    modes = {name: module.training for name, module in trained.named_modules()}
    for name, module in twin.named_modules():
        module.training = modes.get(name, module.training)
    found = []
    for model in (twin, trained):
        work.model = model
        found.append(by_key(stage.losses(work, stage.pairs[0], index=2)))
    work.model = trained
    for key in found[1].keys() | found[0].keys():
        both = [losses.get(key) for losses in found]
        if both[0] is None or both[1] is None or not is_close(both[0], both[1]):
            values = ["none" if value is None else f"{float(value.mean()):.6g}" for value in both]
            raise ContractError(f"round {stage.name!r}: {key[0]} gives {key[1]!r} = {values[1]} for a trained model and {values[0]} for {what}")


def _numpy_state() -> bytes:
    _, key, position, *_ = np.random.get_state(legacy=True)
    return np.asarray(key).tobytes() + bytes(str(position), "ascii")


GENERATORS: dict[str, tuple[Callable[[int], object], Callable[[], bytes], str]] = {
    "torch": (torch.default_generator.manual_seed, lambda: torch.get_rng_state().numpy().tobytes(), "torch.manual_seed"),
    "NumPy": (np.random.seed, _numpy_state, "np.random.seed"),
    "Python": (random.seed, lambda: repr(random.getstate()).encode(), "random.seed"),
}
"""The global generators: how each is set, what state it is in, and what a method may have called."""


DRAWN = {
    "NumPy": "np.random.default_rng(int(torch.randint(2**62, (), generator=step.generator)))",
    "Python": "random.Random(int(torch.randint(2**62, (), generator=step.generator)))",
}
"""What to write instead of a draw from a global generator."""


def check_random_state(trial: Trial) -> None:
    """The hooks set no global random generator, and draw from none but torch's."""
    for stage in trial.stages:
        work = stage.set_up()
        (begun, after), (_, other) = (_states_around(stage, work, seed) for seed in (1, 2))
        for name, (_, _, call) in GENERATORS.items():
            if after[name] == other[name]:
                raise ContractError(f"round {stage.name!r}: a hook sets the global generator of {name}; do not call {call}, draw from step.generator")
            if name != "torch" and after[name] != begun[name]:  # torch's is dropout's, and what a network is built with
                said = f"round {stage.name!r}: a hook draws from the global generator of {name}, which belongs to the whole process"
                raise ContractError(f"{said}; draw from step.generator, or make one: {DRAWN[name]}; in build_model draw with torch")


def _states_around(stage: Stage, work: RoundInProgress, seed: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The global generators' states before and after calls of the hooks."""
    for put, _, _ in GENERATORS.values():
        put(seed)
    before = {name: look() for name, (_, look, _) in GENERATORS.items()}
    config = work.config
    stage.session.hooks.build_model(settings=config.method, architecture=config.model, round=work.info)
    stage.losses(work, stage.pairs[0], seed=None)
    return before, {name: look() for name, (_, look, _) in GENERATORS.items()}


def check_bf16(trial: Trial) -> None:
    """Under `amp=bf16` losses and gradients stay finite and near those of float32, and what is
    remembered keeps its type."""
    for stage in trial.stages:
        work = stage.set_up(amp=True)
        types = {name: value.dtype for name, value in work.model.state_dict().items()}
        exact = by_key(stage.losses(stage.set_up(), stage.pairs[0]))
        try:
            rounded = by_key(stage.losses(work, stage.pairs[0]))
            stage.take_steps(work)
            work.updater.health.check(stage.name, "none")
        except (RuntimeError, TypeError, UdaError) as error:
            raise ContractError(f"round {stage.name!r} under amp=bf16: {flat(error)}; widen with .float() before what needs it") from error
        for key, value in exact.items():
            if key not in rounded or not is_near(rounded[key], value):
                there = f"{float(rounded[key].float().mean()):.4g}" if key in rounded else "not there"
                said = f"= {float(value.mean()):.4g} in float32 and {there} under amp=bf16; add up and take logarithms in float32"
                raise ContractError(f"round {stage.name!r}: {key[0]} gives the loss {key[1]!r} {said}")
        for name, value in work.model.state_dict().items():
            if name in types and value.dtype != types[name]:
                raise ContractError(f"round {stage.name!r} under amp=bf16: {name} turned from {types[name]} to {value.dtype}; copy_ into it, or .float() first")


def is_near(rounded: Tensor, exact: Tensor) -> bool:
    """Whether a loss is what 8 bits of mantissa leave of it."""
    return bool(torch.allclose(rounded.float(), exact.float(), rtol=0.1, atol=1e-2, equal_nan=True))
