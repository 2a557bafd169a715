"""A run: for each round build the model, take its steps, end it, and label for the next round."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from udacore.config.schema import Config
from udacore.engine import round_end, training
from udacore.engine.evaluation import Result
from udacore.engine.files import environment, folder
from udacore.engine.files.checkpoint import Checkpoints
from udacore.engine.files.run_folder import RunFolder
from udacore.engine.machine.device import Machine, open_machine
from udacore.engine.machine.footprint import check_memory
from udacore.engine.machine.main_rank import as_user_error, is_disk_full
from udacore.engine.machine.signals import explain_signals
from udacore.engine.machine.torchrun import read_number
from udacore.engine.preflight import check_run, log_hints
from udacore.engine.rounds import Round, Session
from udacore.engine.tracking import Tracker
from udacore.errors import UdaError
from udacore.files import name_file
from udacore.plugins import Method, build_hooks


def run(
    config: Config, method: Method, *, resume: bool = False, force: bool = False, only: str | None = None, anyway: bool = False,
    notes: Sequence[str] = (),
) -> list[Result]:  # fmt: skip
    """Carry out a configuration in its run folder and return the results of the last round that was run.

    resume  go on where a killed run stopped: the outcome is bit-identical to that of an undisturbed one
    force   begin again in a folder that exists, or run a finished round again
    anyway  resume even if data, versions, device or threads are no longer those of the
            beginning; env.json records both
    only    the one round to run; it reads earlier ones from the folder and marks later ones stale
    notes   lines for the start of the log

    Raises ConfigError, DataError, PluginError, UdaError.
    """
    path = folder.run_folder(config)
    resume = resume or anyway or read_number("TORCHELASTIC_RESTART_COUNT", 0) > 0  # torchrun began us again
    with open_machine(config) as machine, explain_full_disk(path):
        check_memory(config)
        folder.check(path, config, resume=resume, force=force, only=only)
        session = make_session(config, method, path, machine)
        session.check_data()
        is_finished = resume and all(round_end.is_round_finished(round) for round in session.rounds.values())
        found = environment.look(session, resume=resume, anyway=anyway, only=only, finished=is_finished)
        check_run(session, anew=not resume and only is None)
        with folder.lock_folder(path):
            folder.prepare(path, config, resume=resume, force=force, only=only)  # only now: what was there may have taken days
            with open_tracker(session, found), explain_signals(lambda: describe_place(session)):
                for note in notes:
                    session.tracker.say(note)
                for round in round_end.remove_damaged_files(session) if resume else ():
                    write_images_again(round)
                for round in session.rounds.values():
                    if only in (None, round.name) and not round_end.is_round_finished(round):
                        run_round(round)
                return round_end.recall_results(session.rounds[only] if only else round)


def describe_place(session: Session) -> str:
    """Where a run stands, by what it has saved."""
    finished = [round for round in session.rounds.values() if session.checkpoints.exists(round.label)]
    under_way = [round for round in session.rounds.values() if round not in finished and round.has_begun]
    if under_way:
        return f"round {under_way[0].name!r}, whose last checkpoint is kept"
    return f"the end of round {finished[-1].name!r}, which is saved" if finished else "a point before the first checkpoint"


def run_round(round: Round) -> None:
    """One round, from wherever it stands: its steps, its end, the labels that the next round asks for."""
    session, steps_done, round_done = round.session, round.steps_label, round.label
    session.tracker.say(f"round {round.name!r}")
    work = training.set_up(round)
    if not round.has_begun:
        round_end.note_labels(round)
    if session.checkpoints.exists(round_done):
        work.restore(round_done)
    else:
        if session.checkpoints.exists(steps_done):
            work.restore(steps_done)
        else:
            training.take_steps(work)
            training.keep_model(work)
            session.checkpoints.save(steps_done, work.state())
        round_end.call_round_end(work)
        session.checkpoints.save(round_done, work.state())
    round_end.make_labels(work)


def write_images_again(round: Round) -> None:
    """The end of a finished round once more, for its images alone: nothing is recorded twice."""
    session = round.session
    tracker, session.tracker = session.tracker, Tracker(None, tensorboard=False)
    try:
        work = training.set_up(round)
        work.restore(round.steps_label)
        round_end.call_round_end(work)
    finally:
        session.tracker = tracker


@contextlib.contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turns the error of a full disk, wherever it is met, into one line that names file and disk."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        name_file(error, path)
        raise UdaError(f"{as_user_error(error)}; make room and go on with --resume") from error


def make_session(config: Config, method: Method, path: Path, machine: Machine) -> Session:
    """A session that is silent and has written nothing yet."""
    return Session(
        config=config, method=method, hooks=build_hooks(method), folder=path, machine=machine,
        tracker=Tracker(None, tensorboard=False), checkpoints=Checkpoints(RunFolder(path).checkpoints),
    )  # fmt: skip


@contextlib.contextmanager
def open_tracker(session: Session, found: environment.Environment) -> Iterator[None]:
    """Gives a session its voice in a prepared folder: files cut back to the newest
    checkpoint, environment noted."""
    written = folder.resume_point(session.config, session.checkpoints)
    session.tracker = Tracker(session.folder, tensorboard=session.config.tensorboard, written=written)
    try:
        log_hints(session)
        found.write(session)
        yield
    finally:
        session.tracker.close()
