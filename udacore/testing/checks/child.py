"""A run in a child process that reports what it opened and changed, and how it ended.

`main` is what that process calls; what it saw is left in a JSON file, since a process may also be killed.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

KILLED = 77
"""Exit code of a process that died where it was told to."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_RANDOM = ("udacore.engine", "udacore.testing", "numpy", "torch", "random", "multiprocessing")
"""Whose calls of `seed` are their own business."""


def main(order: dict[str, Any]) -> None:
    """Carry out one order of `runs.Runs`; the exit code is 0 unless the process was told to die."""
    settle(order)
    seen: dict[str, Any] = {"error": None, "kind": None, "trace": "", "writes": [], "reads": [], "changed": [], "time": 0.0, "seconds": 0.0}
    watch_files(seen, order)
    watch_readers(order["forbidden"])
    watch_seeds(seen)
    before = surroundings()
    began = time.process_time()
    try:
        carry_out(order, seen)
    except BaseException as error:
        from udacore.errors import UdaError
        from udacore.testing.checks.report import describe, flat

        seen["error"] = flat(error) if isinstance(error, UdaError) else describe(error)
        seen["kind"], seen["trace"] = type(error).__name__, traceback.format_exc()
    seen["seconds"], seen["time"] = time.process_time() - began, time.time()
    after = surroundings()
    seen["changed"] += [f"{name} from {before[name]!r} to {after[name]!r}" for name in before if before[name] != after[name]]
    watching.clear()
    Path(order["report"]).write_text(json.dumps(seen))


def settle(order: dict[str, Any]) -> None:
    """Home, temporary files, caches and the working directory lie in the order's own folder;
    output goes to a file there."""
    here = Path(order["folder"])
    for name in ("home", "tmp", "cache", "work"):
        (here / name).mkdir(parents=True, exist_ok=True)
    os.environ.update(order["environment"], HOME=str(here / "home"), TMPDIR=str(here / "tmp"), UDACORE_CACHE=str(here / "cache"))
    os.environ |= {"XDG_CACHE_HOME": str(here / "cache"), "TORCHINDUCTOR_CACHE_DIR": str(here / "cache")}
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    log = os.open(here / f"output-{order['environment'].get('RANK', 0)}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(here / "work")
    import numpy as np
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(order["noise"])
    np.random.seed(order["noise"])
    random.seed(order["noise"])


def carry_out(order: dict[str, Any], seen: dict[str, Any]) -> None:
    """Load the method and its configuration, and run; the process dies at once, as if killed,
    where the order says so.

    The settings that the method read are added to `seen` as `settings_read`.
    """
    from udacore.config.resolve import load_config
    from udacore.engine.run import run
    from udacore.testing.checks.reach import Reach
    from udacore.testing.checks.subject import load_method
    from udacore.testing.interruption import dying_before_labels, dying_in

    kind, word = order["method"]
    method = load_method(word if kind == "plugin" else find_object(word))
    config = load_config(order["config"], [f"folder={json.dumps(order['runs'])}"], packages=(), method_settings=method.settings)
    dying = dying_before_labels if order["die_late"] else dying_in
    reach = Reach()
    try:
        with reach.watching(method.settings), dying(order["die_in"], partial(os._exit, KILLED)) if order["die_in"] else nullcontext():
            run(config, method, resume=order["resume"])
    finally:
        seen["settings_read"] = sorted(reach.read)


def find_object(word: str) -> Any:
    """`module` or `module:object`."""
    module, _, path = word.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part)
    return found


watching: dict[str, Callable[[str, tuple[Any, ...]], None]] = {}
"""What the audit hook calls; empty once the watch is over, since such a hook stays for good."""


def watch_files(seen: dict[str, Any], order: dict[str, Any]) -> None:
    """Note files opened for writing outside of the order's folder, and those
    opened at all below `forbidden`."""
    allowed = tuple(os.path.join(folder, "") for folder in (order["runs"], order["folder"], "/dev", "/proc"))
    forbidden = os.path.join(order["forbidden"], "")

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(flags, int) and flags & _WRITING) or (isinstance(mode, str) and set(mode) & set("wax+"))
            paths = [path]
        elif event in _CHANGES:
            writes, paths = True, [argument for argument in arguments if isinstance(argument, str | bytes | os.PathLike)]
        else:
            return
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                full = os.path.abspath(os.fsdecode(path))
                if full.startswith(forbidden):
                    seen["reads"].append(full)
                elif writes and not full.startswith(allowed):
                    seen["writes"].append(full)

    watching["files"] = note
    sys.addaudithook(audit)


def watch_readers(forbidden: str) -> None:
    """Let libraries that open files without a word to Python say so, of those below `forbidden`."""
    import cv2
    import torchvision.io.image

    def tell(holder: Any, name: str) -> None:
        read = getattr(holder, name)

        def told(*arguments: Any, **named: Any) -> Any:
            for path in (*arguments[:1], *named.values()):
                if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(os.path.join(forbidden, "")):
                    audit("open", (path, "r", os.O_RDONLY))
            return read(*arguments, **named)

        setattr(holder, name, told)

    tell(cv2, "imread")
    for name in ("read_file", "read_image", "decode_image"):
        if hasattr(torchvision.io.image, name):
            tell(torchvision.io.image, name)
            setattr(torchvision.io, name, getattr(torchvision.io.image, name))


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """The one audit hook of the process."""
    for note in list(watching.values()):
        note(event, arguments)


def watch_seeds(seen: dict[str, Any]) -> None:
    """Note who sets a global random generator by the usual calls, unless it is the core or a library."""
    import numpy as np
    import torch

    def guard(holder: Any, name: str, said: str) -> None:
        call = getattr(holder, name)

        def guarded(*arguments: Any, **named: Any) -> Any:
            caller = sys._getframe(1)
            module = str(caller.f_globals.get("__name__", ""))
            if not module.startswith(_RANDOM):
                seen["changed"].append(f"the global random state, by {said} in {module}, line {caller.f_lineno}")
            return call(*arguments, **named)

        setattr(holder, name, guarded)

    guard(torch, "manual_seed", "torch.manual_seed")
    guard(torch.random, "manual_seed", "torch.random.manual_seed")
    guard(torch, "set_rng_state", "torch.set_rng_state")
    guard(np.random, "seed", "numpy.random.seed")
    guard(np.random, "set_state", "numpy.random.set_state")
    guard(random, "seed", "random.seed")
    guard(random, "setstate", "random.setstate")


def surroundings() -> dict[str, Any]:
    """What belongs to the process and not to a method."""
    import torch

    mask = os.umask(0)
    os.umask(mask)
    return {
        "the working directory": os.getcwd(),
        "the environment": {name: value for name, value in os.environ.items() if not name.startswith(("CRC32C", "CUBLAS", "KMP", "TORCH"))},
        "sys.path": list(sys.path),
        "the umask": mask,
        "torch's default type": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "torch's anomaly mode": torch.is_anomaly_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
    }
