"""A sheet of target pictures: the truth beside what several runs say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from udacore.cli.arguments import open_run
from udacore.data.tables import open_table
from udacore.engine.results.prediction import open_predictor
from udacore.labels import colorize

PICTURES = (0, 3, 6, 9, 12)
"""Which of the validation pictures; chosen before any result was known."""
ENLARGED = 2
HEADING = 22


def draw(runs: Mapping[str, Path], path: Path) -> Path:
    """Save a sheet: a row for each picture, columns for the picture, its truth and the last
    model of each run by title."""
    columns: dict[str, list[NDArray[np.uint8]]] = {"picture": [], "truth": []}
    for title, folder in runs.items():
        method, config, run = open_run(str(folder), (), None, None)
        with open_predictor(config, method, folder=run) as predictor:
            data = open_table(predictor.protocol, predictor.space, domain="target", labels=True)
            pairs = [data.read_pair(index) for index in PICTURES]
            columns[title] = [colorize(predictor.label(image), predictor.space) for image, _ in pairs]
            columns["picture"] = [image for image, _ in pairs]
            columns["truth"] = [colorize(label, predictor.space) for _, label in pairs]
    sheet = np.hstack([_column(title, pictures) for title, pictures in columns.items()])
    cv2.imwrite(str(path), sheet[..., ::-1])
    return path


def _column(title: str, pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures one below the other, under their title."""
    body = cv2.resize(np.vstack(pictures), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)
    head = np.full((HEADING, body.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (4, HEADING - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    column = np.vstack([head, body])
    column[:, -2:] = 255
    return np.ascontiguousarray(column, dtype=np.uint8)
