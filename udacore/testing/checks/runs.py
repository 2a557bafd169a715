"""Whole runs of a method in child processes: undisturbed, repeated, killed in every
round, and in two processes."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import attrs

from udacore.config.dump import dump_config
from udacore.plugins import hooks_of
from udacore.testing.checks import child
from udacore.testing.checks.reach import Reach
from udacore.testing.checks.report import ContractError
from udacore.testing.checks.subject import SCORED, Subject, on_disk
from udacore.testing.formats import write_streets

PATIENCE = 240.0
"""Seconds after which a process counts as hanging."""
TRAINED_ON = 3
"""Images of each domain on disk: two steps see one of them twice, and two processes
have shares of unequal size."""
PRELOADED = ["udacore.engine.run", "udacore.testing.checks.child", "udacore.data.streets", "torch.distributed", "torch._dynamo"]
"""What is imported once for all; the last is what an optimiser imports when it is made."""


@attrs.frozen(kw_only=True)
class Report:
    """How a run ended.

    folder   its run folder
    error    what ended it, in one line, or None; `kind` is the exception's class, `trace` the traceback
    writes   files that it wrote outside of its folder
    reads    labels of the target's training images that it opened
    changed  what it changed in the process
    settings_read  names of the settings that the method read
    seconds  of the processor, from loading the method to the end of the last round: a
             busy machine does not count
    killed   whether it died where it was told to
    time     when it ended
    """

    folder: Path
    error: str | None = None
    kind: str | None = None
    trace: str = ""
    writes: list[str] = attrs.field(factory=list)
    reads: list[str] = attrs.field(factory=list)
    changed: list[str] = attrs.field(factory=list)
    settings_read: list[str] = attrs.field(factory=list)
    seconds: float = 0.0
    killed: bool = False
    time: float = 0.0


class Runs:
    """The runs of one method below `folder`, each made when it is first asked for."""

    def __init__(self, subject: Subject, folder: Path, reach: Reach | None = None) -> None:
        self.subject = subject
        self.folder = folder.resolve()
        self.reach = reach or Reach()

    @functools.cached_property
    def config(self) -> Path:
        """The configuration file of all runs; its images lie on disk, the target's training labels in
        files that are no images."""
        roots = {domain: self.folder / "data" / domain for domain in ("source", "target")}
        for domain, root in roots.items():
            for split, count in (("train", TRAINED_ON), ("val", SCORED)):
                write_streets(root / split, domain, count, split=split, size=self.subject.image_size)  # type: ignore[arg-type]
        for label in self.forbidden.glob("*.png"):
            label.write_bytes(b"the label of a target image that is trained on: no method may read it")
        path = self.folder / "config.yaml"
        path.write_text(dump_config(on_disk(self.subject.config, roots)))
        return path

    @property
    def forbidden(self) -> Path:
        """Where the labels of the target's training images lie."""
        return self.folder / "data" / "target" / "train" / "labels"

    @functools.cached_property
    def whole(self) -> Report:
        """All rounds, undisturbed, in one process."""
        report = self._run("whole")
        self.reach.see_run(report.settings_read, report.folder / "metrics.jsonl")
        return report

    @functools.cached_property
    def again(self) -> Report:
        """The same once more, in another folder, from other global random states and
        with other hashes of texts."""
        with _other_hashes():
            return self._run("again", noise=2)

    @functools.cached_property
    def resumed(self) -> Report:
        """The same, killed at the end of the steps of every round, and before the method's labels are
        made, and resumed each time."""
        deaths = list(self._deaths())
        report = Report(folder=self.folder, killed=True)
        for number, (name, is_late) in enumerate([*deaths, (None, False)]):
            if not report.killed:
                return report
            report = self._run("resumed", die_in=name, die_late=is_late, resume=number > 0, noise=3 if number else 1)
        return report

    def _deaths(self) -> Iterator[tuple[str, bool]]:
        """Rounds to be killed in, and whether after their end: what that leaves for the
        labels must have been saved."""
        rounds = list(self.subject.config.rounds.items())
        has_both = {"on_round_end", "make_pseudo_labels"} <= set(hooks_of(self.subject.method))
        for place, (name, config) in enumerate(rounds):
            if config.steps:
                yield name, False
            wanted = [other.target.labels for _, other in rounds[place + 1 :]]
            if has_both and (name in wanted or wanted[:1] == ["make"]):
                yield name, True

    @functools.cached_property
    def together(self) -> Report:
        """All rounds in two processes; of two that failed, the first."""
        ranks = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        orders = [self._order("together", environment={**ranks, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in (0, 1)]
        reports = carry_out(orders)
        failed = sorted((report for report in reports if report.error is not None), key=lambda report: report.time)
        told = [report for report in failed if report.kind in ("UdaError", "ConfigError", "DataError", "PluginError")]
        return (told or failed or reports)[0]

    def finished(self) -> Report:
        """The undisturbed run; ContractError if it did not come to its end, since then
        nothing can be compared with it."""
        if self.whole.error is not None:
            raise ContractError(f"the run of all rounds fails, so this could not be checked: {self.whole.error}")
        return self.whole

    def _run(self, name: str, **choices: Any) -> Report:
        return carry_out([self._order(name, **choices)])[0]

    def _order(
        self, name: str, *, die_in: str | None = None, die_late: bool = False, resume: bool = False, noise: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        own = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", **(environment or {})}
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / f"report-{own['RANK']}.json"
        report.unlink(missing_ok=True)
        return {
            "method": self.subject.reference(), "config": str(self.config), "folder": str(folder), "runs": str(folder / "runs"), "noise": noise,
            "forbidden": str(self.forbidden), "report": str(report), "environment": own, "die_in": die_in, "die_late": die_late,
            "resume": resume,
        }  # fmt: skip


def carry_out(orders: list[dict[str, Any]]) -> list[Report]:
    """Carry out orders at the same time, each in a process of its own, and wait for all."""
    context = multiprocessing.get_context("forkserver")  # a process that has imported torch, and of the method nothing, is copied each time
    context.set_forkserver_preload(PRELOADED)
    processes = [context.Process(target=child.main, args=(order,)) for order in orders]
    for process in processes:
        process.start()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.1, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
    return [_read(order, process.exitcode) for order, process in zip(orders, processes, strict=True)]


def _read(order: dict[str, Any], code: int | None) -> Report:
    folder, file = Path(order["runs"]) / "contract", Path(order["report"])
    if file.is_file():
        return Report(folder=folder, **json.loads(file.read_text()))
    if code == child.KILLED:
        return Report(folder=folder, killed=True)
    said = f"hung for {PATIENCE:.0f} s and was ended" if code in (-9, None) else f"ended with code {code}"
    output = Path(order["folder"]) / f"output-{order['environment']['RANK']}.txt"
    last = output.read_text(errors="replace").strip().splitlines()[-1:] if output.is_file() else []
    return Report(folder=folder, error=f"the process {said}{''.join(f': {line}' for line in last)}", kind="hung", time=time.time())


@functools.cache
def _other_server() -> forkserver.ForkServer:
    server = forkserver.ForkServer()
    server.set_forkserver_preload(PRELOADED)
    return server


@contextlib.contextmanager
def _other_hashes() -> Iterator[None]:
    """Processes started inside hash texts otherwise: they are copies of another one
    than those started outside."""
    before, connect = os.environ.get("PYTHONHASHSEED"), forkserver.connect_to_new_process
    os.environ["PYTHONHASHSEED"] = "2" if before == "1" else "1"
    forkserver.connect_to_new_process = _other_server().connect_to_new_process
    try:
        yield
    finally:
        forkserver.connect_to_new_process = connect
        os.environ.pop("PYTHONHASHSEED")
        if before is not None:
            os.environ["PYTHONHASHSEED"] = before


def _free_port() -> int:
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        return int(waiting.getsockname()[1])
