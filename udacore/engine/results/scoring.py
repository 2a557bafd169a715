"""Scoring of a finished run again: another protocol, a checkpoint, or a folder of checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
from torch import Tensor, nn

from udacore.config.references import SEGMENTER
from udacore.config.schema import Config
from udacore.engine.evaluation import Result, describe_protocol, evaluate, find_network, has_begun
from udacore.engine.files.checkpoint import Checkpoints, parse_checkpoint, read_tensors
from udacore.engine.files.checkpoint_form import is_count
from udacore.engine.files.run_folder import RunFolder, round_label
from udacore.engine.hooks.hook_results import find_not_finite
from udacore.engine.initial_weights import build_model
from udacore.engine.machine.device import open_machine
from udacore.engine.machine.footprint import check_scoring
from udacore.engine.optimisation.frozen import fill_frozen, find_frozen, settle_frozen
from udacore.engine.optimisation.parts import part_of
from udacore.engine.rounds import Session
from udacore.engine.tracking import Tracker
from udacore.errors import ConfigError, UdaError, list_names, near_matches
from udacore.models.layouts import convert_checkpoint, recognize_layout
from udacore.models.unwrapping import is_state, unwrap
from udacore.models.weights import first_number, load_state
from udacore.plugins import Method, build_hooks


def score_checkpoint(config: Config, method: Method, *, folder: Path | None, only: str | None, checkpoint: Path | None) -> list[Result]:
    """Evaluate a round's model on its sets; nothing is written.

    folder      run folder whose checkpoints are read, or None
    only        the round; default: the last finished one, or the last of the configuration
    checkpoint  a file of weights instead: a checkpoint of a run, a plain state_dict, or one that the
                method's authors released
    """
    name, path = choose_checkpoint(config, folder, only, checkpoint)
    check_scoring(config, name)
    with open_session(config, method, folder) as session:
        return _Scorer(session, name).score(path)


def score_folder(config: Config, method: Method, *, folder: Path | None, only: str | None, checkpoints: Path) -> Iterator[tuple[int | None, Result]]:
    """Evaluate every file of weights (.pt, .pth) in `checkpoints` on the round's first set, in
    the order of their names.

    folder, only  as in `score_checkpoint`
    Yields the number of steps that a checkpoint states, else the first number in its
    name, else None; and its result.
    """
    paths = sorted((path for path in checkpoints.iterdir() if path.suffix in (".pt", ".pth")), key=lambda path: path.name)
    if not paths:
        raise ConfigError(f"{checkpoints}: holds no checkpoint, that is, no file that ends in .pt or .pth")
    name, _ = choose_checkpoint(config, folder, only, paths[0])
    check_scoring(config, name)
    with open_session(config, method, folder) as session:
        for path in paths:
            (result,) = _Scorer(session, name).score(path, sets=1)
            yield result.step or first_number(path.name), result


def choose_checkpoint(config: Config, folder: Path | None, only: str | None, checkpoint: Path | None) -> tuple[str, Path]:
    """The round whose settings are used, and the file."""
    names = list(config.rounds)
    if only is not None and only not in names:
        raise ConfigError(f"--round: there is no round {only!r}{near_matches(only, names)}")
    checkpoints = Checkpoints(RunFolder(folder or Path()).checkpoints)
    finished = [name for number, name in enumerate(names) if checkpoints.exists(round_label(number, name))] if folder else []
    name = only or (finished[-1] if finished else names[-1])
    path = checkpoint or checkpoints.path(round_label(names.index(name), name))
    if checkpoint is None and not path.exists():
        raise UdaError(f"{folder}: round {name!r} is not finished; finished: {list_names(finished) or 'none'}")
    return name, path


@contextlib.contextmanager
def open_session(config: Config, method: Method, folder: Path | None) -> Iterator[Session]:
    """A session that reads and writes nothing."""
    with open_machine(config) as machine:
        yield Session(
            config=config, method=method, hooks=build_hooks(method), folder=folder or Path(), machine=machine,
            tracker=Tracker(None, tensorboard=False), checkpoints=Checkpoints(RunFolder(folder or Path()).checkpoints),
        )  # fmt: skip


@attrs.frozen
class _Scorer:
    """A round's model, built anew for each file: what a file lacks must not come from the one before."""

    session: Session
    name: str

    def score(self, path: Path, sets: int | None = None) -> list[Result]:
        """Results on the first `sets` evaluation sets, by default all."""
        session, config, machine = self.session, self.session.config, self.session.machine
        model, origin = load_model(session, self.name, path)
        found = session.rounds[self.name].evaluation_sets()
        if not found:
            raise ConfigError(f"round {self.name!r} has no evaluation set; add one, such as evaluate.target.dataset=cityscapes")
        for data in found[:sets]:
            require_network(model, data.config.network, path)
        chosen = f", best on {config.rounds[self.name].best_on or found[0].name}" if origin.is_best else ""
        return [
            Result(
                round=self.name, step=origin.step, set=data.name,
                scores=evaluate(model, data, machine, config.workers), classes=data.space.classes,
                protocol=describe_protocol(data, model, machine, path.name + chosen),
            )
            for data in found[:sets]
        ]  # fmt: skip


@attrs.frozen(kw_only=True)
class Origin:
    """What a file states beside weights.

    step     steps that were taken, 0 where it does not say
    is_best  whether a run chose them by a score
    frozen   SHA-256 of the files that hold what it leaves out, by part
    """

    step: int = 0
    is_best: bool = False
    frozen: Mapping[str, str] = MappingProxyType({})


def load_model(session: Session, name: str, path: Path) -> tuple[nn.Module, Origin]:
    """The model of round `name` with the weights of a file, on the session's device; and
    what else the file states.

    DataError for a file that is damaged, holds no weights, or is a checkpoint of a run with
    entries of another form.
    """
    round = session.rounds[name]
    model = build_model(round, round.info())
    config = session.config.rounds[name]
    state, origin = _read(session, path, model)
    frozen = find_frozen(model, config).keys() - state.keys()
    if frozen and origin.frozen:  # else a file that knows nothing of frozen parts lacks them, as any part
        state = fill_frozen(model, config).complete(model, state, origin.frozen, str(path))
    else:
        settle_frozen(model, config)
    # Predictions need no discriminator or the like: such a part may be missing as a whole.
    held = {key.partition(".")[0] for key in state}
    spared = {k: v for k, v in model.state_dict().items() if part_of(k, model, config) != SEGMENTER and k.partition(".")[0] not in held}
    load_state(model, {**spared, **state}, where=str(path))
    broken = find_not_finite(model)
    if broken:
        raise UdaError(f"{path}: its weights are not finite: {list_names(broken)}")
    machine = session.machine
    return model.to(machine.device).to(memory_format=machine.memory_format), origin


def require_network(model: nn.Module, name: str | None, path: Path) -> nn.Module:
    """The network that is asked for. ConfigError if there is none of that name, UdaError if the
    file holds no weights of it."""
    network = find_network(model, name)
    if not has_begun(network):
        raise UdaError(f"{path}: its {name} was never updated, so it has no weights of its own; do without network={name}")
    return network


def with_network(config: Config, network: str | None) -> Config:
    """The configuration with this child scored in all sets of all rounds; None leaves it."""
    if network is None:
        return config
    rounds = {
        name: attrs.evolve(round, evaluate={key: attrs.evolve(entry, network=network) for key, entry in round.evaluate.items()})
        for name, round in config.rounds.items()
    }
    return attrs.evolve(config, rounds=rounds)


def _read(session: Session, path: Path, model: nn.Module) -> tuple[dict[str, Tensor], Origin]:
    """The state_dict in a file, which is a checkpoint of this run, of another one, or
    anybody's file of weights."""
    if path.parent == session.checkpoints.folder and path.suffix == ".pt":
        saved = session.checkpoints.load(path.stem)
        return saved.model, Origin(step=saved.step, is_best=saved.best is not None, frozen=saved.frozen)
    content = read_tensors(path)
    if {"format", "round", "model"} <= set(content):
        saved = parse_checkpoint(content, path)
        return saved.model, Origin(step=saved.step, is_best=saved.best is not None, frozen=saved.frozen)
    step = content.get("step") if "model" in content else None
    return _state(content, session.method, path, model), Origin(step=step if step is not None and is_count(step) else 0)


def _state(content: dict[Any, Any], method: Method, path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The state_dict of a checkpoint of ours, of a plain file, or of one that the method's authors released.

    The authors' may be a plain state_dict too: then entries of it belong to no child of `model`. Where others
    do, it is ours unless a layout knows all of it.
    """
    layouts = getattr(method.module, "LAYOUTS", ())
    children = {name for name, _ in model.named_children()}
    inner = content.get("model", content)
    held = {key.partition(".")[0] for key in inner} if is_state(inner) else set()
    if layouts and (held - children or not held & children):
        try:
            return convert_checkpoint(content, recognize_layout(content, layouts, where=str(path)))
        except ConfigError:
            if not held & children:
                raise
    state, _ = unwrap(content, str(path))
    return state
