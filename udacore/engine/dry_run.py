"""`uda run --dry-run`: some steps of every round, for memory and time."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import attrs
import numpy as np
import torch

from udacore import ranks
from udacore.config.references import OfRound, images_of, labels_of
from udacore.config.schema import Config
from udacore.data.mixture import Table
from udacore.data.reading import write_label
from udacore.engine import training
from udacore.engine.machine.device import open_machine
from udacore.engine.machine.footprint import check_memory
from udacore.engine.optimisation.parts import set_modes
from udacore.engine.preflight import check_run
from udacore.engine.rounds import Session
from udacore.engine.run import make_session
from udacore.plugins import Method

STEPS = 20


def dry_run(config: Config, method: Method) -> str:
    """Take 20 steps of every round in a temporary folder; a table of time a step,
    peak memory and time in all.

    Overlays that a round would have made are stood in for: pseudo labels by class 0, images by the round's
    own. Evaluation and the hooks at a round's end are not timed. Weights are as built: what they hold changes
    no time.
    """
    lines = [f"{'round':<20} {'steps':>8} {'ms/step':>9} {'peak memory':>12} {'time':>9}"]
    total = 0.0
    with open_machine(config) as machine, tempfile.TemporaryDirectory() as own:
        check_memory(config)
        folder = Path(ranks.all_gather_object(own)[0])  # the main rank writes for all
        first = make_session(config, method, folder, machine)
        first.check_data()
        check_run(first)
        for name in config.rounds:
            session = make_session(config, method, folder, machine)
            steps = session.rounds[name].steps
            if steps:
                seconds, memory = _try_round(session, name, min(STEPS, steps))
                total += seconds * steps
                lines.append(f"{name:<20} {steps:>8} {1000 * seconds:>9.0f} {memory / 2**30:>9.2f} GB {_clock(seconds * steps):>9}")
            else:
                lines.append(f"{name:<20} {0:>8} {'-':>9} {'-':>12} {'-':>9}")
    lines.append(f"{'total':<20} {'':>8} {'':>9} {'':>12} {_clock(total):>9}   without evaluation, labels and the rounds' ends")
    return "\n".join(lines)


def _try_round(session: Session, name: str, steps: int) -> tuple[float, float]:
    """Seconds a step (the first two left out, if there are more) and peak memory in
    bytes of a round cut short."""
    short = stand_in(session, name)
    work = training.set_up(short.rounds[name])
    work.updater.round = attrs.evolve(work.updater.round, dry=True)
    device = session.machine.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batches = training.micro_batches(work)
    clock = [time.perf_counter()]
    for _, (source, target) in zip(range(steps), batches, strict=False):
        set_modes(work.model, work.config, work.info.trains)
        work.updater.run_step(work.step, source, target)
        work.step += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        clock.append(time.perf_counter())
    batches.close()
    work.updater.health.check(name, "none, this is a dry run")
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    first = min(2, len(clock) - 2)
    return (clock[-1] - clock[first]) / (len(clock) - 1 - first), peak


def stand_in(session: Session, name: str) -> Session:
    """The session with this round's weights as built and its overlays replaced."""
    config = session.config.rounds[name]
    source, target = config.source, config.target
    if isinstance(images_of(session.config.rounds, name), OfRound):
        source = attrs.evolve(source, images="own")
    if isinstance(labels_of(session.config.rounds, name), OfRound):
        table = session.rounds[name].target(overlay=False)
        target = attrs.evolve(target, labels=str(_blank_labels(table, session.folder / name)))
    changed = attrs.evolve(config, source=source, target=target, weights="initial", initial="random")
    rounds = {**session.config.rounds, name: changed}
    return attrs.evolve(session, config=attrs.evolve(session.config, rounds=rounds))


def _blank_labels(table: Table, folder: Path) -> Path:
    """A label map of class 0 for every image of the table."""
    if ranks.is_main():
        for index, name in enumerate(table.names):
            write_label(folder / f"{name}.png", np.zeros(table.size(index), dtype=np.uint8), ((0, 0, 0),))
    ranks.barrier()
    return folder


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
