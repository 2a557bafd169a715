"""A finished model, scored again: another protocol, another checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from udacore.config.schema import Config
from udacore.engine.checkpoint import Checkpoints, read_tensors
from udacore.engine.device import running
from udacore.engine.evaluation import Result, describe_protocol, evaluate
from udacore.engine.session import Session
from udacore.engine.starting import build_model
from udacore.engine.tracking import Tracker
from udacore.errors import ConfigError, UdaError, near_matches
from udacore.interface import RoundInfo
from udacore.models.weights import load_state
from udacore.plugins import Method, build_hooks


def score_checkpoint(config: Config, method: Method, *, folder: Path | None, only: str | None, checkpoint: Path | None) -> list[Result]:
    """Evaluate a round's model on its sets; nothing is written.

    folder      run folder whose checkpoints are read, or None
    only        the round; default: the last finished one, or the last of the configuration
    checkpoint  a file of weights instead: a checkpoint of a run, or a plain state_dict
    """
    names = list(config.rounds)
    if only is not None and only not in names:
        raise ConfigError(f"--round: there is no round {only!r}{near_matches(only, names)}")
    checkpoints = Checkpoints((folder or Path()) / "checkpoints")
    finished = [name for number, name in enumerate(names) if checkpoints.exists(f"{number}-{name}")] if folder else []
    name = only or (finished[-1] if finished else names[-1])
    path = checkpoint or checkpoints.path(f"{names.index(name)}-{name}")
    if checkpoint is None and not path.exists():
        raise UdaError(f"{folder}: round {name!r} is not finished; finished: {', '.join(finished) or 'none'}")
    with running(config) as machine:
        session = Session(
            config=config, method=method, hooks=build_hooks(method), folder=folder or Path(), machine=machine,
            tracker=Tracker(None, tensorboard=False), checkpoints=checkpoints,
        )  # fmt: skip
        content = read_tensors(path)
        model = _build(session, name)
        load_state(model, content.get("model", content), where=str(path))
        model.to(machine.device).to(memory_format=machine.memory_format)
        sets = session.evaluation_sets(name)
        if not sets:
            raise ConfigError(f"round {name!r} has no evaluation set; add one, such as evaluate.target.dataset=cityscapes")
        is_best = "model" in content and content.get("best") is not None
        chosen = f", best on {config.rounds[name].best_on or sets[0].name}" if is_best else ""
        return [
            Result(
                round=name, step=int(content.get("step", 0)) if "model" in content else 0, set=data.name,
                scores=evaluate(model, data, machine, config.workers), classes=data.space.classes,
                protocol=describe_protocol(data, model, machine, path.name + chosen),
            )
            for data in sets
        ]  # fmt: skip


def _build(session: Session, name: str) -> nn.Module:
    config = session.config.rounds[name]
    classes = session.space(name).classes
    round = RoundInfo(name=name, index=session.index(name), steps=0, trains=tuple(config.parts), classes=classes)
    return build_model(session, round, config)


