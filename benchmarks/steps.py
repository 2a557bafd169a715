"""What a step of each kind of round costs at the published sizes, by precision and layout,
without the reading of images.

    python benchmarks/steps.py [--device cuda|cpu] [--quick] [--only WORD ...] [--forms WORD ...]
    [--seconds 400] [--write FILE]

Two batches are read through the round's own transforms, from miniatures in the data sets' real formats and
sizes, and stay on the device; weights are random, so losses may be infinite, which changes no time. Each
round runs in the forms of `FORMS`, in one process: median milliseconds of the steps after the second, FLOPs
of a step as torch counts them, their share of the device's peak, and peak memory. Exit code 1 if a round
ended in an error. `--quick` is for tests: one step of the embedded domains' images and network.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import attrs
import torch
from hot_spots import Place
from speed import made_with, synchronise
from torch.utils.flop_counter import FlopCounterMode

from udacore.config.resolve import load_config
from udacore.engine import training
from udacore.engine.dry_run import stand_in
from udacore.engine.machine.device import open_machine
from udacore.engine.optimisation.parts import set_modes
from udacore.engine.run import make_session
from udacore.plugins import load_plugin
from udacore.testing import formats

ROUNDS = (
    ("proca", "adapt"), ("fada", "adversarial"), ("clp", "associate"), ("pycda", "pyramid"), ("bdl", "adapt-1"), ("bdl", "translate-1"),
    ("proca", "distill"), ("fada", "distill"), ("bdl", "self-training-1"), ("pycda", "convert"), ("proca", "source"),
)  # fmt: skip
"""One of each kind; rounds that are the same computation as another are left out."""
FORMS: dict[str, dict[str, object]] = {
    "float32": {},
    "tf32": {"tf32": True},
    "bf16": {"tf32": True, "amp": "bf16"},
    "bf16, channels_last": {"tf32": True, "amp": "bf16", "channels_last": True},
    "bf16, channels_last, benchmark": {"tf32": True, "amp": "bf16", "channels_last": True, "benchmark": True},
    "bf16, channels_last, compile": {"tf32": True, "amp": "bf16", "channels_last": True, "compile": True},
}
"""`benchmark`: cudnn tries its algorithms; the other words are those of a configuration."""
HELP = f"of: {'; '.join(FORMS)}; default: all but the last, which compiles for more than a minute a round"
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""FLOPs a second in bf16 with dense operands, as the maker states them."""
HEAD = """\
| round | form | ms a step | to float32 | TFLOP a step | share of peak in bf16 | peak GiB | steps |
| --- | --- | --: | --: | --: | --: | --: | --: |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, for tests")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="rounds whose name 'method round' holds one of the words")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS)[:-1], metavar="WORD", help=HELP)
    parser.add_argument("--seconds", type=float, default=400.0, help="no further round is begun after that")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table to this Markdown file too")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("steps: torch finds no CUDA device here; use --device cpu")
    rounds = [each for each in ROUNDS if any(word in " ".join(each) for word in arguments.only)]
    lines: list[str] = []
    failed = 0

    def tell(text: str) -> None:
        print(text, flush=True)
        lines.append(text)
        if arguments.write:
            arguments.write.write_text("\n".join(lines) + "\n")  # what was found so far survives a time limit

    device, end = torch.device(arguments.device), time.monotonic() + arguments.seconds
    tell(f"# Steps at the published sizes\n\n{made_with(Place(device, arguments.quick))}\n\n{HEAD}")
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder), quick=arguments.quick)
        for method, name in rounds:
            if time.monotonic() > end:
                tell(f"\n{method} {name} and what follows it: not measured, {arguments.seconds:.0f} s have passed")
                break
            trial = Trial(method=method, round=name, data=data, device=device, quick=arguments.quick)
            for form in arguments.forms:
                tell(row(trial, form))
            failed += trial.failed
    sys.exit(1 if failed else 0)


def write_data(folder: Path, *, quick: bool) -> list[str]:
    """Images in the real formats and sizes; the words of a configuration that reads them. The
    embedded ones where `quick`."""
    if quick:
        return [f"folder={folder}"]
    formats.write_gta5(folder / "gta5", 8, sizes=((1914, 1052),))
    formats.write_cityscapes(folder / "cityscapes", {"train": 8, "val": 2}, size=(2048, 1024))
    os.environ["UDACORE_DATA"] = str(folder)
    return [f"folder={folder}", "workers=4"]


@attrs.define(kw_only=True)
class Trial:
    """A kind of round that is tried in several forms.

    batches  micro-batches of two steps on the device, read for the first form
    flops    of a step, counted in the first form
    first    seconds of a step in the first form
    failed   forms that ended in an error
    """

    method: str
    round: str
    data: list[str]
    device: torch.device
    quick: bool
    batches: list[training.MicroBatches] = attrs.field(factory=list)
    flops: int = 0
    first: float = 0.0
    failed: int = 0


def row(trial: Trial, form: str) -> str:
    """A line of the table; an error is a line too, so that the others are still measured."""
    place = f"{trial.method} {trial.round} | {form}"
    try:
        seconds, memory, steps = measure(trial, form)
    except Exception as error:
        trial.failed += 1
        return f"| {place} | {type(error).__name__}: {str(error).splitlines()[0][:150].replace('|', '/')} | | | | | |"
    finally:
        torch._dynamo.reset()  # a model that is no longer used must not fill the memory of the next
        gc.collect()
        torch.cuda.empty_cache()
    trial.first = trial.first or seconds
    name = torch.cuda.get_device_name(trial.device) if trial.device.type == "cuda" else ""
    peak = next((value for word, value in PEAK.items() if word in name), None)
    share = f"{100 * trial.flops / seconds / peak:.0f} %" if peak else ""
    numbers = (f"{1000 * seconds:.1f}", f"{trial.first / seconds:.2f}", f"{trial.flops / 1e12:.2f}", share, f"{memory / 2**30:.1f}", str(steps))
    return "| " + " | ".join([place, *numbers]) + " |"


def measure(trial: Trial, form: str) -> tuple[float, int, int]:
    """Seconds of a step, bytes at the peak, and how many steps were timed."""
    words = dict(FORMS[form])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = bool(words.pop("tf32", False))
    torch.backends.cudnn.benchmark = bool(words.pop("benchmark", False))
    plugin = load_plugin(trial.method)
    lists = ("source.except=null", "target.except=null", "evaluate.selection.list=null")  # they name images of the real sets
    excepted = lists if trial.method == "pycda" and not trial.quick else ()
    given = (*trial.data, *excepted, f"device={trial.device.type}", *(f"{key}={value}" for key, value in words.items()))
    preset, packages = "streets" if trial.quick else "gta5-cityscapes", (f"udacore_{trial.method}", "udacore")
    config = load_config(preset, given, packages=packages, method_settings=plugin.settings)
    with open_machine(config) as machine, tempfile.TemporaryDirectory() as folder:
        session = stand_in(make_session(config, plugin, Path(folder), machine), trial.round)
        work = training.set_up(session.rounds[trial.round])
        work.updater.round = attrs.evolve(work.updater.round, dry=True)  # statistics that an earlier round makes are stood in for
        return time_steps(trial, work)


def time_steps(trial: Trial, work: training.RoundInProgress) -> tuple[float, int, int]:
    """As `measure`, of a round that is set up."""
    device, machine = trial.device, work.session.machine
    if not trial.batches:
        with contextlib.closing(training.micro_batches(work)) as stream:
            trial.batches = list(itertools.islice(stream, 2))
    batches = [tuple([training.move(each, machine) for each in domain] for domain in pair) for pair in trial.batches]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def step() -> float:
        synchronise(device)
        begin = time.perf_counter()
        set_modes(work.model, work.config, work.info.trains)
        work.updater.run_step(work.step, *batches[work.step % 2])
        work.step += 1
        synchronise(device)
        return time.perf_counter() - begin

    for _ in range(2):
        step()  # allocations, compilation, the choice of algorithms
    times, end = [step()], time.monotonic() + 2
    while not trial.quick and time.monotonic() < end and len(times) < 20:
        times.append(step())
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    if not trial.flops:
        with FlopCounterMode(display=False) as counter:
            step()
        trial.flops = counter.get_total_flops()
    return statistics.median(times), memory, len(times)


if __name__ == "__main__":
    main()
