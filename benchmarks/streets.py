"""Source-only, AdaBN, each method beside its matched control, and the oracle, over several
seeds of the embedded domains.

    python benchmarks/streets.py --seeds 11 12 13 [--plugins clp pycda fada proca bdl] [--folder
    runs/benchmark] [a.b=c ...]

Writes benchmarks/RESULTS.md (mean, sample deviation, paired difference), streets.json (every number) and
streets.png (some images of the first seed). Runs that are finished in the folder are read, not repeated, so
it can be stopped and started.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import rows
import sections
import torch
from picture import draw

from udacore.engine.results.comparison import (
    Row,
    differing_protocols,
    format_classes,
    format_comparison,
    format_rounds,
    group,
    plain,
    read_run_folder,
    spread,
)

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--plugins", nargs="*", default=["clp", "pycda", "fada", "proca", "bdl"])
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--no-oracle", action="store_true", help="leave the oracle's row out")
    parser.add_argument("overrides", nargs="*", help="a.b=c for every run")
    arguments = parser.parse_intermixed_args()
    places = [arguments.folder / f"seed-{seed}" for seed in arguments.seeds]
    for seed, place in zip(arguments.seeds, places, strict=True):
        train(place, seed, arguments.plugins, arguments.overrides, not arguments.no_oracle)
    names = ["source-only", "adabn", *(name for plugin in arguments.plugins for name in (f"{plugin}-control", plugin))]
    names += [] if arguments.no_oracle else ["oracle"]
    table = group([read_run_folder(place / name) for name in names for place in places], to="source-only")
    if found := differing_protocols(table):
        raise SystemExit("\n".join(found))
    (HERE / "streets.json").write_text(json.dumps({"date": today(), "command": command(), "rows": plain(table)}, indent=1) + "\n")
    text = "\n".join([report(table), *([aggregated(places)] if "clp" in arguments.plugins else [])])
    others = sections.own_sections(sections.FILE.read_text()) if sections.FILE.is_file() else ""
    sections.FILE.write_text(text + others)
    print(text)
    print(draw({name: places[0] / name for name in names if not name.endswith("control")}, HERE / "streets.png"))


def train(place: Path, seed: int, plugins: Sequence[str], more: Sequence[str], with_oracle: bool) -> None:
    """All runs of a seed."""
    rows.source_only(place, seed, *more)
    rows.adabn(place, seed, *more)
    for plugin in plugins:
        rows.adapted(plugin, place, seed, *more, control=True)
        rows.adapted(plugin, place, seed, *more)
    if with_oracle:
        rows.oracle(place, seed, *more)


def report(table: Sequence[Row]) -> str:
    """The tables in Markdown, with the command and the machine that made them."""
    first = table[0].runs
    device = f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines = [
        "# Results on the embedded domains",
        "",
        f"Made on {today()} by `python {command()}` ({device}).",
        f"Pair W, 120 target validation images, mIoU in percent over {len(next(iter(first.values())).classes)} classes, last step, single scale,",
        f"one protocol for all rows. Seeds {', '.join(map(str, first))}; a seed changes images and training. ± is the sample standard deviation",
        "over seeds. A method's control has the same start, steps, rates, augmentation and batch-norm mode, and every loss on the",
        f"target multiplied by 0. Every method, control and the oracle goes on from the source-only weights for {rows.ORACLE_STEPS} steps of its",
        "segmenter, the oracle with the target's labels. Runs that were finished in the benchmark's folder are read, not repeated.",
        "",
        format_comparison(table, "markdown"),
        "",
        "![Target images, their truth, and what each run says (first seed)](streets.png)",
        "",
        "IoU of each class, mean over the seeds:",
        "",
        format_classes(table, "markdown"),
        "",
    ]
    for row in table:
        if row.partner is not None and row.partner.name.endswith("control"):
            lines += [f"{row.name}, after each round:", "", format_rounds(row), ""]
    return "\n".join(lines)


def aggregated(places: Sequence[Path]) -> str:
    """PLCA and its control under the inference with which it is published."""
    method, control = ([100 * rows.aggregated(place / name).scores.miou for place in places] for name in ("clp", "clp-control"))
    gains = [a - b for a, b in zip(method, control, strict=True)]
    return (
        f"clp under aggregated inference (`evaluate.target.head=aggregated evaluate.target.upsample=probability`): {spread(method)}, its control\n"
        f"{spread(control)}, paired difference {spread(gains, '+')} ({', '.join(f'{gain:+.1f}' for gain in gains)}).\n"
    )


def command() -> str:
    return shlex.join(["benchmarks/streets.py", *sys.argv[1:]])


def today() -> str:
    return datetime.date.today().isoformat()


if __name__ == "__main__":
    main()
