"""The model at the start of a round: built by the method, then filled with the
weights that the round names."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from udacore.config.references import SEGMENTER, Best, File, Initial, OfRound, Previous, weights_of
from udacore.config.schema import RoundConfig
from udacore.engine.hooks.hook_results import check_model
from udacore.engine.machine.build_memory import CountedAllocation
from udacore.engine.machine.device import derive_seed
from udacore.engine.machine.footprint import machine_memory
from udacore.engine.optimisation.frozen import Frozen, check_freeze, fill_frozen, fill_part, is_frozen, share_frozen, verify_file
from udacore.engine.optimisation.parts import part_of, present_parts
from udacore.engine.rounds import Round
from udacore.errors import ConfigError, UdaError, list_names, near_matches
from udacore.interface import RoundInfo
from udacore.models import Teacher
from udacore.models.domain_argument import accept_domain
from udacore.models.weights import load_children, read_state
from udacore.plugins import label_errors


def build_model(round: Round, info: RoundInfo) -> nn.Module:
    """What the method builds, on the CPU, its random weights drawn from the
    run's seed and the round's name."""
    session, config = round.session, round.config
    where = f"plugin {session.method.name!r}, build_model, round {round.name!r}"
    with torch.random.fork_rng(devices=[]), label_errors(session.method.name, "build_model", round.name, 0):
        torch.default_generator.manual_seed(derive_seed(session.config.seed, round.name, "model"))
        with CountedAllocation(machine_memory(), where, config.method):
            model = session.hooks.build_model(settings=config.method, architecture=config.model, round=info)
    checked = check_model(model, where, len(info.classes))
    share_frozen(checked, config)
    accept_domain(checked)
    return checked


def load_initial_weights(round: Round, model: nn.Module) -> Frozen:
    """Fill each part as `weights` says; what no file holds stays as built and is listed in the
    log. Returns what is frozen."""
    name, config = round.name, round.config
    children = [child for child, _ in model.named_children()]
    for child in config.weights_except:
        if child not in children:
            raise ConfigError(f"rounds.{name}.weights_except: the model has no child {child!r}{near_matches(child, children)}")
    frozen = fill_frozen(model, config)
    for part in present_parts(model, config):
        check_freeze(model, config, part)
        weights = weights_of(config, part, first=round.index == 0)
        if is_frozen(part, config):
            continue
        if isinstance(weights, Initial):
            if part not in frozen.files:  # else it is filled already
                fill_part(model, part, config)
        else:
            if isinstance(weights, File):
                verify_file(frozen, Path(weights.word))
            state, origin = _find_state(round, part, weights)
            _load_part(round, model, part, _fill_up(model, part, state, config, frozen), origin)
    for module in model.children():
        if isinstance(module, Teacher) and module.count == 0:
            module.fill(model)  # it was built before any weights were there; its first update copies them again
    return frozen


def _fill_up(model: nn.Module, part: str, state: dict[str, Tensor], config: RoundConfig, frozen: Frozen) -> dict[str, Tensor]:
    """A state_dict with the frozen tensors that it left out; what it holds is kept, and will be in
    this round's checkpoints."""
    own = model.state_dict()
    mine = {name for name in frozen.entries if part_of(name, model, config) == part}
    frozen.entries -= mine & state.keys()
    return {**state, **{name: own[name] for name in mine - state.keys()}} if state else state


def _find_state(
    round: Round, part: str, weights: Previous | Best | OfRound | File
) -> tuple[dict[str, Tensor], str]:
    """The state_dict that `weights` means, and where it came from."""
    session = round.session
    if isinstance(weights, Best):
        return _find_best(round)
    if isinstance(weights, Previous):
        for earlier in reversed(round.earlier):
            if session.checkpoints.exists(earlier.label):
                state = session.checkpoints.load(earlier.label).model
                if part == SEGMENTER or any(key.startswith(f"{part}.") for key in state):
                    return state, f"round {earlier.name!r}"
            else:
                does_not = f"part {part!r} does not begin with round {earlier.name!r}"
                session.tracker.say(f"round {round.name!r}: {does_not}, which is not finished in {session.folder}")
        if part != SEGMENTER:
            return {}, "an earlier round"
        raise UdaError(f"round {round.name!r}: weights: previous, but no earlier round is finished in {session.folder}")
    if isinstance(weights, OfRound):
        return session.checkpoints.load(session.rounds[weights.name].label).model, f"round {weights.name!r}"
    return read_state(Path(weights.word)), weights.word


def _find_best(round: Round) -> tuple[dict[str, Tensor], str]:
    """The model that the latest earlier round with `keep: best` chose, as it was before that round's end.

    Not the file `best`: a round that keeps the best of its own writes over it, and may be killed after that.
    """
    for earlier in reversed(round.earlier):
        if earlier.config.keep == "best":
            return round.session.checkpoints.load(earlier.steps_label).model, f"the best of round {earlier.name!r}"
    raise ConfigError(f"rounds.{round.name}.weights: best, but no earlier round keeps its best model; set keep: best there")


def _load_part(round: Round, model: nn.Module, part: str, state: dict[str, Tensor], origin: str) -> None:
    """Load one part strictly; a child that only one side has stays as built, or is left behind."""
    config = round.config
    own = {key: value for key, value in model.state_dict().items() if part_of(key, model, config) == part}
    children = {key.partition(".")[0] for key in own}
    kept = {key: value for key, value in state.items() if key.partition(".")[0] not in config.weights_except}
    offered = {key: value for key, value in kept.items() if key.partition(".")[0] in children}
    if state and not offered:
        said = f"{origin}: holds nothing of part {part!r}: it begins with {next(iter(state))!r}, the model with {next(iter(own))!r}"
        advice = "" if part == SEGMENTER else f"; to leave this part as built, name it apart: weights: {{segmenter: ..., {part}: initial}}"
        raise ConfigError(f"{said}{advice}")
    loaded = load_children(model, offered, where=origin)
    built = sorted({key.partition(".")[0] for key in loaded.missing if part_of(key, model, config) == part})
    if built:
        round.session.tracker.say(f"part {part!r}: {list_names(built, most=8)} left as built: not in {origin}")
