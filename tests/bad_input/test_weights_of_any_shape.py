"""Files of weights with any content, and what else may lie in their place: file and entry are named."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folder import RESUME, RUN, STATES, WEIGHT

from udacore.engine.files.checkpoint import Checkpoints
from udacore.engine.files.json_files import read_environment
from udacore.engine.files.metrics_file import read_rows
from udacore.engine.results.scoring import load_model
from udacore.engine.training import RoundInProgress
from udacore.errors import DataError, UdaError
from udacore.models.layouts import Layout, convert_checkpoint
from udacore.models.weights import read_state


def quantized(value: torch.Tensor) -> torch.Tensor:
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


def nested(value: torch.Tensor) -> torch.Tensor:
    return torch.nested.nested_tensor([value, value])


ODD: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "sparse": (torch.Tensor.to_sparse, f"{WEIGHT} is a sparse tensor (torch.sparse_coo); ordinary tensors"),
    "sparse rows": (
        lambda value: value.flatten(1).to_sparse_csr(),
        f"{WEIGHT} is a sparse tensor (torch.sparse_csr)",
    ),
    "meta": (lambda value: value.to("meta"), f"{WEIGHT} is a tensor without values (meta)"),
    "quantized": (quantized, f"{WEIGHT} is a quantized tensor (torch.qint8)"),
    "nested": (nested, f"{WEIGHT} is a nested tensor"),
}
"""Tensors that cannot be computed with as they stand."""


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch comments on what is made here
def test_a_tensor_of_another_kind_is_named_by_every_reader(
    kind: str, killed: Path, saved: dict[str, Any], folder: Path
) -> None:
    change, said = ODD[kind]
    state = {**saved["model"], WEIGHT: change(saved["model"][WEIGHT])}
    torch.save({**saved, "model": state}, "last.pt")
    torch.save(state, "plain.pt")
    torch.save({"net": state}, "release.pt")
    torch.save({**saved, "optimizers": {"segmenter": [1, (state,)]}}, "deep.pt")
    layout = Layout(name="tiny", parts={"net": {"": ""}})
    readers: dict[str, tuple[Callable[[], object], str]] = {
        "last.pt": (lambda: Checkpoints(Path()).load("last"), "model."),
        "plain.pt": (lambda: read_state(Path("plain.pt")), ""),
        "release.pt": (lambda: convert_checkpoint(Path("release.pt"), layout), "net."),
        "deep.pt": (lambda: Checkpoints(Path()).load("deep"), "optimizers.segmenter.1.0."),
    }
    for name, (read, place) in readers.items():
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value).startswith(f"{name}: not ")
        assert f"({place}{said}" in str(caught.value)


RELEASES: dict[str, tuple[Callable[[dict[str, Any]], Any], int, str]] = {
    "a number as a weight": (
        lambda state: {"net": {**state, WEIGHT: 3}},
        2,
        f"layout 'tiny' does not know net.{WEIGHT}",
    ),
    "a number as a key": (
        lambda state: {"net": {**state, 3: torch.ones(1)}},
        2,
        "layout 'tiny' does not know a key that is no text",
    ),
    "a list as a part": (
        lambda state: {"net": [1]},
        2,
        "layout 'tiny' expects a state_dict under 'net', got list",
    ),
    "a number as an entry": (lambda state: {"net": state, 5: 3}, 2, "layout 'tiny' does not know 5"),
    "a list": (lambda state: [state], 3, "not a checkpoint: it holds a list"),
    "a tensor": (lambda state: torch.ones(3), 3, "not a checkpoint: it holds a Tensor"),
    "a sparse tensor": (
        lambda state: torch.ones(3).to_sparse(),
        3,
        "it is a sparse tensor (torch.sparse_coo)",
    ),
    "objects": (lambda state: {"net": Path("x")}, 3, "it holds objects, pathlib.PosixPath among them"),
    "a complex weight": (
        lambda state: {"net": {**state, WEIGHT: state[WEIGHT] + 0j}},
        2,
        f"{WEIGHT}, complex numbers there",
    ),
    "step of a tensor": (
        lambda state: {"model": {"x": 3}, "step": torch.ones(2)},
        2,
        "no known layout: layout 'tiny' expects the entry 'net'",
    ),
    "a state_dict with a number": (lambda state: {**state, "epoch": 3}, 2, "no known layout: "),
}
"""What a release may be: content, exit code, words."""


@pytest.mark.parametrize("kind", RELEASES)
def test_a_release_that_is_none_is_named(kind: str, saved: dict[str, Any], work: RoundInProgress, folder: Path) -> None:
    make, code, said = RELEASES[kind]
    torch.save(make(saved["model"]), "theirs.pt")
    work.session.checkpoints = Checkpoints(STATES)
    with pytest.raises(UdaError) as caught:
        load_model(work.session, "source", Path("theirs.pt"))
    assert caught.value.exit_code == code
    assert str(caught.value).startswith("theirs.pt: ")
    assert said in str(caught.value)


def test_a_pickle_that_holds_itself_or_nests_deep_ends(run: Path, refused: Any) -> None:
    loop: dict[str, Any] = {"epoch": 1}
    loop["state_dict"] = loop
    torch.save(loop, "theirs.pt")
    refused("eval runs/bad --checkpoint theirs.pt", 2, "theirs.pt: no known layout")
    refused(
        f"{RUN} name=other initial=theirs.pt", 3, "theirs.pt: the entry 'state_dict' nests without an end"
    )
    wide: Any = [torch.ones(1).to_sparse()]
    for _ in range(60):
        wide = [wide, wide]
    torch.save({"net": wide}, "theirs.pt")
    refused("eval runs/bad --checkpoint theirs.pt", 3, "is a sparse tensor")


WHOLE_FILES: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"hello\n"),
    "random bytes": lambda path: path.write_bytes(random.Random(1).randbytes(3000)),
}


@pytest.mark.parametrize("kind", WHOLE_FILES)
def test_what_lies_in_the_place_of_a_file_is_named(kind: str, folder: Path) -> None:
    readers = {
        "last.pt": lambda: Checkpoints(Path()).load("last"),
        "env.json": lambda: read_environment(Path()),
    }
    for name, read in readers.items():
        WHOLE_FILES[kind](Path(name))
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value).startswith(f"{name}: ")


def test_a_pipe_in_the_place_of_a_file_holds_no_command_up(run: Path, refused: Any) -> None:
    for path, command in (
        (STATES / "last.pt", RESUME),
        (Path("runs/bad/env.json"), RESUME),
        (Path("runs/bad/log.txt"), RESUME),
        (Path("runs/bad/metrics.jsonl"), RESUME),
        (STATES / "0-source.pt", "eval runs/bad"),
    ):
        path.rename("kept")
        os.mkfifo(path)
        assert refused(command, 3, "no ordinary file").startswith(f"{path}: ")
        if path.name == "metrics.jsonl":
            with pytest.raises(UdaError, match="no ordinary file"):  # as `uda compare` reads it
                read_rows(path.parent)
        path.unlink()
        Path("kept").rename(path)
