"""The five-minute demonstration: source-only, ProCA and its matched control on the embedded domains.

    python examples/demo.py [--folder runs/demo] [--seed 1] [a.b=c ...]

Prints one table (IoU in percent on 120 target pictures) and saves before-after.png: picture, truth, before, after.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "benchmarks"))

import rows  # noqa: E402

from udacore.cli.arguments import read_run  # noqa: E402
from udacore.data.colour import normalize  # noqa: E402
from udacore.data.datasets import open_table  # noqa: E402
from udacore.data.labels import colorize, get_label_space  # noqa: E402
from udacore.engine.checkpoint import read_tensors  # noqa: E402
from udacore.inference import predict_label  # noqa: E402
from udacore.metrics import Scores, format_scores  # noqa: E402
from udacore.models import build_segmenter, load_state  # noqa: E402

PICTURES = (0, 3, 6, 9, 12)


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
    picture = draw(folder, seed)
    print(f"{picture}: picture, truth, source-only, ProCA; {minutes}:{seconds:02d} minutes in all")


def oracle_line() -> str:
    """What the benchmark recorded for a network trained on the target's labels."""
    record = json.loads((HERE.parent / "benchmarks" / "streets.json").read_text())
    figures = [100 * row["miou"] for row in record["rows"]["oracle"].values()]
    origin = f"trained with the target's labels; recorded {record['date']} by {record['command']}"
    return f"Oracle ({origin}): mIoU {np.mean(figures):.1f} over {len(figures)} seeds."


def draw(folder: Path, seed: int) -> Path:
    """A sheet: for some target pictures a row with the picture, its truth, and the labels before and after adaptation."""
    _, config = read_run("proca", rows.common(folder, "proca", seed))
    last = list(config.rounds)[-1]
    settings, space = config.rounds[last], get_label_space("streets")
    data = open_table(settings.evaluate["target"], space, domain="target", labels=True)
    files = (folder / "source-only/checkpoints/0-source.pt", folder / f"proca/checkpoints/{len(config.rounds) - 1}-{last}.pt")
    models = []
    for file in files:
        model = build_segmenter(settings.model, len(space.classes))
        load_state(model, read_tensors(file)["model"], where=str(file))
        models.append(model.eval())
    lines = []
    for index in PICTURES:
        image, label = data.read_pair(index)
        tensor = torch.from_numpy(normalize(image, settings.pixels))[None]
        with torch.no_grad():
            labels = [label, *(predict_label(model, tensor, label.shape)[0].numpy().astype(np.uint8) for model in models)]
        lines.append(np.hstack([image, *(colorize(one, space) for one in labels)]))
    sheet = cv2.resize(np.vstack(lines), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    path = folder / "before-after.png"
    cv2.imwrite(str(path), sheet[..., ::-1])
    return path


if __name__ == "__main__":
    main()
