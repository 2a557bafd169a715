"""Each hot spot in the plain form of the published programs and in ours, in one process, in turns.

    python benchmarks/speed.py [--device cpu|cuda] [--quick] [--only WORD ...] [--seconds 20] [--write FILE]

First the numbers of both must agree (exit code 1 if not), then the table: median milliseconds, ratio, and the
memory that a call takes beyond its inputs. On the CPU that is the rise of the process's peak, each form in a
process of its own. `--quick` is for tests: small sizes, two repeats, no memory. Threads are torch's own
choice: set OMP_NUM_THREADS. With one thread on the CPU the process's own seconds are counted, so that other
programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import gc
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from hot_spots import CASES, Pair, Place

TOLERANCE = 1e-4
"""Of what is not whole numbers: length of the difference by length of the vector."""
MOST_REPEATS = 30
HEAD = """\
| hot spot | size | plain ms | ours ms | plain / ours | plain MiB | ours MiB | repeats | differs |
| --- | --- | --: | --: | --: | --: | --: | --: | --: |"""


@attrs.frozen(kw_only=True)
class Row:
    """What was found for one case: seconds, and bytes where they were measured."""

    name: str
    size: str
    plain: float
    ours: float
    repeats: int
    difference: float
    memory: tuple[int, int] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, for tests")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose name holds one of the words")
    parser.add_argument("--seconds", type=float, default=20.0, help="time for the repeats of a case (at least three)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table to this Markdown file too")
    parser.add_argument("--memory-of", choices=("plain", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("speed: torch finds no CUDA device here; use --device cpu")
    torch.backends.cudnn.allow_tf32 = False  # numbers are compared to seven digits
    place = Place(torch.device(arguments.device), arguments.quick)
    names = [name for name in CASES if not arguments.only or any(word in name for word in arguments.only)]
    if not names:
        sys.exit(f"speed: no case is named like {', '.join(arguments.only)}; possible: {', '.join(CASES)}")
    if arguments.memory_of:
        print(host_memory(getattr(CASES[names[0]](place), arguments.memory_of)))
        return
    print(f"{made_with(place)}\n\n{HEAD}", flush=True)  # a table that is copied from the terminal says what made it
    rows = []
    gc.freeze()  # what was there before need not be looked through ahead of every call
    try:
        for name in names:
            rows.append(measure(name, place, arguments.seconds))
            print(line(rows[-1]), flush=True)
    finally:
        gc.unfreeze()
    if arguments.write:
        arguments.write.write_text(report(rows, place))


def measure(name: str, place: Place, seconds: float) -> Row:
    """Compare, then time both forms in turns."""
    pair = CASES[name](place)
    found = difference(pair)  # the first call of each: whatever is set up once is set up now
    if found > TOLERANCE:
        sys.exit(f"speed: {name}: our form differs from the plain one by {found:.1e} (relative); at most {TOLERANCE:.0e} is allowed")
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while len(times[0]) < (2 if place.quick else 3) or (time.perf_counter() < end and len(times[0]) < MOST_REPEATS and not place.quick):
        for form, kept in zip((pair.plain, pair.ours), times, strict=True):
            kept.append(timed(form, place.device))
    memory = None if place.quick else memory_of_both(name, pair, place)
    medians = [statistics.median(kept) for kept in times]
    return Row(name=name, size=pair.size, plain=medians[0], ours=medians[1], repeats=len(times[0]), difference=found, memory=memory)


def difference(pair: Pair) -> float:
    """The largest relative difference of the outputs; infinite where names,
    shapes or whole numbers differ."""
    ours, plain = pair.ours(), (pair.exact or pair.plain)()
    if set(ours) != set(plain):
        return float("inf")
    return max(distance(array(ours[key]), array(plain[key]), pair.ties) for key in plain)


def array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)


def distance(ours: np.ndarray, plain: np.ndarray, ties: float = 0.0) -> float:
    """Length of the difference by length of `plain`, in double precision; whole numbers must
    be equal, but for `ties`."""
    if ours.shape != plain.shape:
        return float("inf")
    if plain.dtype.kind in "biu":
        share = float(np.abs(ours.astype(np.int64) - plain.astype(np.int64)).sum() / max(1, plain.astype(np.int64).sum()))
        return share if share <= ties else float("inf")
    gap, length = (float(np.linalg.norm(each.astype(np.float64))) for each in (ours - plain, plain))
    found = gap / length if length else gap
    return found if np.isfinite(found) else float("inf")


def timed(form: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    clock = time.process_time if counts_own_time(device) else time.perf_counter
    gc.collect()
    synchronise(device)
    begin = clock()
    form()
    synchronise(device)
    return clock() - begin


def counts_own_time(device: torch.device) -> bool:
    """Whether the process's own seconds are taken: with one thread they are those of
    an idle machine, busy or not."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_of_both(name: str, pair: Pair, place: Place) -> tuple[int, int]:
    """Bytes beyond the inputs at the peak of a call, plain and ours."""
    if place.device.type == "cuda":
        return device_memory(pair.plain, place.device), device_memory(pair.ours, place.device)
    command = [sys.executable, __file__, "--only", name, "--memory-of"]
    plain, ours = (int(subprocess.run([*command, form], check=True, capture_output=True, text=True).stdout) for form in ("plain", "ours"))
    return plain, ours


def device_memory(form: Callable[[], object], device: torch.device) -> int:
    synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    form()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device) - before


def host_memory(form: Callable[[], object]) -> int:
    """As `device_memory`, of this process (Linux): its peak is set back to what it holds,
    then read after the call."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what making the inputs left free would serve the call unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    form()
    return max(0, resident("VmHWM") - before)


def resident(field: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = dict(each.split(":", 1) for each in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def line(row: Row) -> str:
    """A row of the table in Markdown."""
    memory = ["", ""] if row.memory is None else [f"{each / 2**20:.0f}" for each in row.memory]
    agrees = "equal" if row.difference == 0 else f"{row.difference:.0e}"
    numbers = (f"{1000 * row.plain:.2f}", f"{1000 * row.ours:.2f}", f"{row.plain / row.ours:.1f}")
    return "| " + " | ".join([row.name, row.size, *numbers, *memory, str(row.repeats), agrees]) + " |"


def report(rows: Sequence[Row], place: Place) -> str:
    """The table with how it was made."""
    clock = "seconds of processor time of this process" if counts_own_time(place.device) else "seconds by the clock on the wall"
    slower = [row.name for row in rows if row.ours > row.plain]
    return "\n".join(
        [
            "# Speed of the hot spots",
            "",
            made_with(place),
            "",
            "Plain: the computation as the published programs are described to do it (`hot_spots/plain.py`). Both forms ran in",
            f"one process, in turns; medians over the repeats, {clock}. The machine may have been shared,",
            "so the ratio means more than the milliseconds. MiB: the most that a call takes beyond its inputs. Differs: length",
            "of the difference of an output (loss, gradient, label) by length of the plain one, the largest, checked first.",
            "",
            HEAD,
            *map(line, rows),
            "",
            f"Where ours is not faster: {', '.join(slower) if slower else 'nowhere in this table'}.",
            "",
        ]
    )


def made_with(place: Place) -> str:
    """When, by which command, on what, and with which versions the rows are made."""
    on_cpu = f"{processor()}, {torch.get_num_threads()} torch thread(s)"
    device = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else on_cpu
    return (
        f"Made on {datetime.date.today().isoformat()} by `python {shlex.join([f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}`\n"
        f"on {device}; Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}."
    )


def processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((each.split(":", 1)[1].strip() for each in lines if each.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
