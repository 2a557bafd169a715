"""FADA's pseudo labels before and after the alignment: a sheet of target training images
of a finished `streets` run.

    python examples/fada_labels.py [RUN] [--out fada-labels.png]

Columns: image, its truth (never seen in training), hard labels of the source-only network, hard
labels of the aligned one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import attrs
import cv2
import numpy as np
import torch

from udacore.cli.arguments import read_run
from udacore.data.colour import normalize
from udacore.data.tables import open_table
from udacore.engine.files.checkpoint import read_tensors
from udacore.inference import predict_label
from udacore.labels import colorize, get_label_space
from udacore.models import build_segmenter, load_children

PICTURES = (2, 5, 8, 11)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/fada-streets"))
    parser.add_argument("--out", type=Path, default=Path("fada-labels.png"))
    arguments = parser.parse_args()
    _, config = read_run("fada", (str(arguments.run / "config.yaml"),))
    settings, space = config.rounds["adversarial"], get_label_space("streets")
    # The target's training images with their truth, which only a look back like this one opens.
    data = open_table(attrs.evolve(settings.evaluate["target"], split="train"), space, domain="target", labels=True)
    models = []
    for name in ("0-source", "1-adversarial"):
        model = build_segmenter(settings.model, len(space.classes))
        state = read_tensors(arguments.run / "checkpoints" / f"{name}.pt")["model"]
        kept = {key: value for key, value in state.items() if not key.startswith("discriminator.")}
        load_children(model, kept, where=name)
        models.append(model.eval())
    lines = []
    for index in PICTURES:
        image, label = data.read_pair(index)
        tensor = torch.from_numpy(normalize(image, settings.pixels))[None]
        labels = [label, *(predict_label(model, tensor, label.shape, flip=True)[0].numpy().astype(np.uint8) for model in models)]
        lines.append(np.hstack([image, *(colorize(one, space) for one in labels)]))
    sheet = cv2.resize(np.vstack(lines), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(arguments.out), sheet[..., ::-1])
    print(f"{arguments.out}: image, truth, source-only, aligned")


if __name__ == "__main__":
    main()
