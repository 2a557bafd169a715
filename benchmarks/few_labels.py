"""A few labels of the target: methods and their matched controls on the embedded domains, with the labels of
none, a few or many of the target's training images as a second source.

    python benchmarks/few_labels.py --seeds 11 12 13 [--plugins clp pycda] [--labels 0 1/64 1/16 1/4]
    [--source-steps 1200] [--steps 900] [--folder runs/few-labels] [a.b=c ...]

Writes the section "A few labels of the target" of benchmarks/RESULTS.md. Runs that are finished in the folder are read, not
repeated, so it can be stopped and started. Fewer steps than the presets take are said in the section.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import shlex
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import rows
import sections
import torch
from streets import today

from udacore.config.resolve import load_config
from udacore.engine.results.comparison import spread

TITLE = "A few labels of the target"
TARGET_IMAGES = 400
"""Training images of the embedded target."""
LABELS = (Fraction(0), Fraction(1, 64), Fraction(1, 16), Fraction(1, 4))
SHARE = 0.25
"""Share of the labelled target images in a source batch of 4: one."""
ROUNDS = {"clp": "associate", "pycda": "pyramid", "fada": "adversarial", "proca": "adapt"}
"""The round of each method whose steps `--steps` sets."""


Figures = dict[tuple[str, Fraction, bool], list[float]]
"""(method, share of labels, whether it is the control) -> mIoU in percent for each seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--plugins", nargs="+", default=["clp", "pycda"], choices=list(ROUNDS))
    parser.add_argument("--labels", type=Fraction, nargs="+", default=LABELS, help="share of the target's training images that have labels")
    parser.add_argument("--source-steps", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--folder", type=Path, default=Path("runs/few-labels"))
    parser.add_argument("overrides", nargs="*", help="a.b=c for every run")
    arguments = parser.parse_intermixed_args()
    scores: Figures = {}
    for seed in arguments.seeds:
        place = arguments.folder / f"seed-{seed}"
        rows.source_only(place, seed, f"rounds.source.steps={arguments.source_steps}", *arguments.overrides)
        for labels, plugin, control in itertools.product(arguments.labels, arguments.plugins, (True, False)):
            count = int(labels * TARGET_IMAGES)
            words = (f"name={plugin}-{count}", *with_labels(count), f"rounds.{ROUNDS[plugin]}.steps={arguments.steps}")
            result = rows.adapted(plugin, place, seed, *words, *arguments.overrides, control=control)
            scores.setdefault((plugin, labels, control), []).append(100 * result.scores.miou)
            print(f"seed {seed}, {count} labels, {plugin}{'-control' if control else ''}: {100 * result.scores.miou:.2f}", flush=True)
    section = report(scores, arguments)
    sections.FILE.write_text(sections.with_section(sections.FILE.read_text(), TITLE, section))
    print(section)


def with_labels(count: int) -> tuple[str, ...]:
    """A source of two sets, the drawn street scenes in fair weather and `count` labelled target images."""
    few = f"{{domain: target, count: {count}, share: {SHARE}}}"
    return (f"source.sets={{clear: {{}}, few: {few}}}",) if count else ()


def report(scores: Figures, arguments: argparse.Namespace) -> str:
    """The table in Markdown, with the command and the machine that made it."""
    usual = [load_config("streets").rounds["source"].steps, 900]
    given = [arguments.source_steps, arguments.steps]
    changed = [*(["fewer steps than the table above"] if given != usual else []), *(word for word in arguments.overrides if not word.startswith("threads"))]
    lines = [
        f"Made on {today()} by `python {shlex.join(['benchmarks/few_labels.py', *sys.argv[1:]])}` "
        f"({platform.machine()} CPU, torch {torch.__version__}).",
        f"mIoU in percent on the target's validation images after the last step, seeds {', '.join(map(str, arguments.seeds))}, ± the sample "
        "deviation over seeds.",
        f"Each run goes on from source-only weights of {arguments.source_steps} steps for {arguments.steps}; the labelled target images are "
        f"{SHARE:.0%} of each source batch.",
        "Without a method means its matched control: the same run, labels and steps, every loss on the target multiplied by 0.",
        *([f"Reduced: {', '.join(changed)}. These figures compare with each other alone."] if changed else []),
        "",
        "| labels of the target (images) | " + " | ".join(f"without {name} | with {name} | paired difference" for name in arguments.plugins) + " |",
        "| --- |" + " ---: | ---: | ---: |" * len(arguments.plugins),
    ]
    for labels in arguments.labels:
        cells = [cell for name in arguments.plugins for cell in compared(scores[name, labels, True], scores[name, labels, False])]
        lines.append(f"| {labels} ({int(labels * TARGET_IMAGES)}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compared(control: Sequence[float], method: Sequence[float]) -> list[str]:
    """Mean and deviation of both, and of their paired difference."""
    gains = [a - b for a, b in zip(method, control, strict=True)]
    return [spread(control), spread(method), spread(gains, "+")]


if __name__ == "__main__":
    main()
