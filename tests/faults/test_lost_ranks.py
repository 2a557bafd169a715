"""A rank that is killed: torchrun begins all of them again, and the run goes on by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import torch

from udacore.engine.machine import processes
from udacore.errors import UdaError

pytestmark = pytest.mark.slow

CHANGES: dict[str, Any] = {"rounds": {"source": {"steps": 9, "draws": ["source"]}}}
CASES = [
    pytest.param(rank, rendezvous, marks=() if (rank, rendezvous) == (0, "static") else pytest.mark.long)
    for rank in (0, 1)
    for rendezvous in ("static", "standalone")
]

DYING = """
import os
import signal
from udacore import hookimpl, source_only
from udacore.source_only import build_model

calls = []

@hookimpl
def source_loss(step):
    calls.append(step)
    if len(calls) == 8 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "{rank}":
        os.kill(os.getpid(), signal.SIGKILL)
    return source_only.source_loss(step)
"""


def free_port() -> int:
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        return int(waiting.getsockname()[1])


@pytest.mark.parametrize(("rank", "rendezvous"), CASES)
def test_a_run_goes_on_by_itself_when_a_rank_is_killed(workshop: Any, rank: int, rendezvous: str) -> None:
    """Under either rendezvous the second attempt meets in a store that still
    holds the addresses of the first."""
    place = ["--standalone"] if rendezvous == "standalone" else [f"--master-port={free_port()}"]
    config = workshop.write({**CHANGES, "plugin": str(workshop.write_method(DYING.format(rank=rank)))})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=2", *place]
    process = subprocess.Popen(
        [*launcher, "-m", "udacore", "run", str(config)], cwd=workshop.path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=150)
    finally:
        workshop.kill(process)
    assert process.returncode == 0, said
    assert "round 'source' goes on at step 6" in said
    assert (workshop.path / "run" / "checkpoints" / "0-source.pt").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_that_stays_alone_ends_with_a_line(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "START_SECONDS", 1)
    said = rf"the 2 processes of this run did not meet at 127.0.0.1:{port} within 1 s: .*start all"
    with pytest.raises(UdaError, match=said), processes.group(torch.device("cpu")):
        pass
