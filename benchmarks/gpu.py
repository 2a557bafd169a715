"""What only a device can show: the CPU's numbers, repeats bit for bit, no waits, and speed. Run by
`gpu.sh`; needs no pytest."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import udacore_proca
from hot_spots import CASES, Place
from speed import HEAD, TOLERANCE, array, difference, distance, line, made_with, measure

from udacore.config.resolve import load_config
from udacore.engine.files.folder import run_folder
from udacore.engine.run import run
from udacore.plugins import load_plugin

LOSSES = [name for name in CASES if CASES[name].__module__ == "hot_spots.losses"]
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("count=4", "image_size=[64,32]")),
    *("rounds.source.steps=3", "rounds.source.batch=2", "batch=2", "rounds.adapt.steps=3", "rounds.distill.steps=2"),
    *("rounds.distill-2=null", "rounds.distill-3=null", "rounds.distill-4=null", "log_every=1"),
)
SECONDS = 420
"""No further speed is measured after that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes for the speed, for tests")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu: torch finds no CUDA device here; --device cpu tries the check itself")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa would hide differences
    begin, device = time.monotonic(), torch.device(arguments.device)
    lines: list[str] = []
    failed = 0

    def tell(text: str) -> None:
        print(text, flush=True)
        lines.append(text)
        arguments.write.write_text("\n".join(lines) + "\n")  # what was found so far survives a time limit

    tell(f"# GPU check\n\n{made_with(Place(device, arguments.quick))}\n\n| check | case | result |\n| --- | --- | --- |")
    for check, case, found in checks(device):
        failed += found is not None
        tell(f"| {check} | {case} | {found or 'holds'} |")
    tell(f"\n{HEAD}")
    for name in CASES:
        if time.monotonic() - begin > SECONDS:
            tell(f"\n{name} and what follows it: not measured, {SECONDS} s have passed")
            break
        tell(line(measure(name, Place(device, arguments.quick), seconds=4)))
    tell(f"\n{failed} checks failed; {time.monotonic() - begin:.0f} s in all.")
    sys.exit(1 if failed else 0)


def checks(device: torch.device) -> Iterator[tuple[str, str, str | None]]:
    """Name of the check, of the case, and what is wrong, or None."""
    for name in CASES:
        yield "numbers of the CPU", name, tried(lambda name=name: compare_devices(name, device))
        yield "plain and our form agree", name, tried(lambda name=name: compare_forms(name, device))
    torch.use_deterministic_algorithms(True)
    for name in LOSSES:
        yield "repeats bit for bit", name, tried(lambda name=name: repeat(name, device))
    yield "repeats bit for bit", "all rounds of ProCA", tried(lambda: repeat_run(device))
    torch.use_deterministic_algorithms(False)
    if device.type == "cuda":
        for name in LOSSES:
            yield "never waits for the device", name, tried(lambda name=name: run_without_waits(name, device))


def tried(check: Callable[[], str | None]) -> str | None:
    """The check's word; an exception is a failure of this check alone."""
    try:
        return check()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''}".replace("|", "/")


def compare_devices(name: str, device: torch.device) -> str | None:
    on_cpu, on_device = (CASES[name](Place(each, quick=True)).ours() for each in (torch.device("cpu"), device))
    if set(on_cpu) != set(on_device):
        return f"{sorted(on_device)} in place of {sorted(on_cpu)}"
    for key, expected in on_cpu.items():  # an argmax of nearly equal logits may fall either way
        found = distance(array(on_device[key]), array(expected), ties=1e-3)
        if not found <= (1e-3 if key in ("label", "counts") else TOLERANCE):
            return f"{key} differs by {found:.1e}"
    return None


def compare_forms(name: str, device: torch.device) -> str | None:
    found = difference(CASES[name](Place(device, quick=True)))
    return None if found <= TOLERANCE else f"differ by {found:.1e}"


def repeat(name: str, device: torch.device) -> str | None:
    form = CASES[name](Place(device, quick=True)).ours
    first, second = form(), form()
    differing = [key for key, value in first.items() if not torch.equal(torch.as_tensor(value), torch.as_tensor(second[key]))]
    return f"{', '.join(differing)} differ" if differing else None


def repeat_run(device: torch.device) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = (run_small(f"{folder}/{number}", device) for number in (1, 2))
    differing = [f"{name} {key}" for name, model in first.items() for key, value in model.items() if not torch.equal(value, second[name][key])]
    return f"{len(differing)} tensors differ, first {differing[0]}" if differing else None


def run_small(folder: str, device: torch.device) -> dict[str, dict[str, torch.Tensor]]:
    words = (*SMALL, f"folder={folder}", "name=run", f"device={device.type}", "deterministic=true")
    config = load_config("streets", words, packages=("udacore_proca", "udacore"), method_settings=udacore_proca.Settings)
    run(config, load_plugin("proca"))
    files = sorted((run_folder(config) / "checkpoints").glob("[0-9]*.pt"))
    return {path.name: torch.load(path, weights_only=True, map_location="cpu")["model"] for path in files}


def run_without_waits(name: str, device: torch.device) -> str | None:
    form = CASES[name](Place(device, quick=True)).ours
    form()
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        form()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None


if __name__ == "__main__":
    main()
