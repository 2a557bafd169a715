"""Labels and images that one round writes and a later one reads; complete only with its manifest."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from udacore import ranks
from udacore.data.labels import LabelSpace
from udacore.data.reading import write_image, write_label
from udacore.engine.checkpoint import read_json
from udacore.errors import PluginError, UdaError

MANIFEST = "manifest.json"


class Overlay:
    """A folder of files by image name, written by all ranks, each its own share.

    source  digest of the weights that the content comes from: complete files of the same source are kept on resume,
            those of another are removed first
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self._written: list[str] = []

    def is_complete(self) -> bool:
        """Whether all of it was written from this source."""
        manifest = read_json(self.folder / MANIFEST)
        return manifest is not None and manifest["source"] == self.source

    def begin(self) -> None:
        """Make the folder; empty it if what lies there came from other weights."""
        if ranks.is_main():
            begun = read_json(self.folder / "source.json")
            if self.folder.exists() and begun != self.source:
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / MANIFEST).unlink(missing_ok=True)
            _write_text(self.folder / "source.json", json.dumps(self.source))
        ranks.barrier()

    def write_label(self, name: str, label: np.ndarray, space: LabelSpace) -> None:
        """Write an H W uint8 label map, unless it is there already."""
        label = np.asarray(label)
        if label.ndim != 2 or label.dtype != np.uint8:
            raise PluginError(f"make_pseudo_labels: the map of {name!r} must be H W uint8, got {label.dtype} {label.shape}")
        wrong = np.setdiff1d(np.unique(label), [*range(len(space.classes)), 255])
        if wrong.size:
            raise PluginError(f"make_pseudo_labels: the map of {name!r} has ids {wrong[:5].tolist()}; {space.name} has 0 to {len(space.classes) - 1} and 255")
        path = self.folder / f"{name}.png"
        if not path.exists():
            write_label(path, label, space.palette)
        self._written.append(name)

    def write_image(self, name: str, image: np.ndarray) -> None:
        """Write an H W 3 uint8 picture, unless it is there already."""
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise PluginError(f"write_image: {name!r} must be H W 3 uint8, got {image.dtype} {image.shape}")
        path = self.folder / f"{name}.png"
        if not path.exists():
            write_image(path, image)
        self._written.append(name)

    @property
    def is_begun(self) -> bool:
        """Whether this process has written anything."""
        return bool(self._written)

    def finish(self, expected: Iterable[str] | None = None) -> None:
        """Write the manifest, which alone makes the overlay valid; PluginError if an expected name is missing."""
        names = sorted(name for share in ranks.all_gather_object(self._written) for name in share)
        twice = [name for name, following in itertools.pairwise(names) if name == following]
        missing = sorted(set(names if expected is None else expected) - set(names))
        if twice or missing:
            raise PluginError(
                f"{self.folder.name}: {len(missing)} images were not written{f', first {missing[0]!r}' if missing else ''}"
                f"; {len(twice)} were written twice{f', first {twice[0]!r}' if twice else ''}"
            )
        if ranks.is_main():
            manifest = {"count": len(names), "source": self.source, "names": names}
            _write_text(self.folder / MANIFEST, json.dumps(manifest, indent=0))
        ranks.barrier()


def require_overlay(folder: Path, what: str) -> Path:
    """The folder, if it was written to its end; else UdaError."""
    if read_json(folder / MANIFEST) is None:
        raise UdaError(f"{what}: {folder} is missing or incomplete; run the round that writes it first")
    return folder


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
