"""The five-minute demonstration: source-only, ProCA and its matched control on the embedded domains.

    python examples/demo.py [--folder runs/demo] [--seed 1] [a.b=c ...]

Prints one table (IoU in percent on 120 target images) and saves before-after.png:
image, truth, before, after.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

import rows  # noqa: E402
from picture import draw  # noqa: E402

from udacore.metrics import Scores, format_scores  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="a.b=c for every run")
    arguments = parser.parse_intermixed_args()
    folder, seed, more = arguments.folder, arguments.seed, arguments.overrides
    began = time.monotonic()
    table: dict[str, Scores] = {}
    before = rows.source_only(folder, seed, *more)
    table["source-only"] = before.scores
    table["control"] = rows.adapted("proca", folder, seed, *more, control=True).scores
    table["ProCA"] = rows.adapted("proca", folder, seed, *more).scores
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    print(format_scores(table, before.classes))
    print("\nThe control has ProCA's start, steps, rates, augmentation and batch-norm mode; its target losses are multiplied by 0.")
    print(oracle_line())
    picture = draw({"source-only": folder / "source-only", "ProCA": folder / "proca"}, folder / "before-after.png")
    print(f"{picture}: image, truth, source-only, ProCA; {minutes}:{seconds:02d} minutes in all")


def oracle_line() -> str:
    """What the benchmark recorded for a network trained on the target's labels."""
    record = json.loads((HERE.parent / "benchmarks" / "streets.json").read_text())
    (oracle,) = (row for row in record["rows"] if row["run"] == "oracle")
    figures = [100 * each["miou"] for each in oracle["seeds"].values()]
    origin = f"trained with the target's labels; recorded {record['date']} by {record['command']}"
    return f"Oracle ({origin}): mIoU {np.mean(figures):.1f} over {len(figures)} seeds."


if __name__ == "__main__":
    main()
