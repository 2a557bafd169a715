"""Labels and images that one round writes and a later one reads; complete only with its manifest."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from udacore import ranks
from udacore.data.labels import LabelSpace
from udacore.data.reading import write_image, write_label
from udacore.engine.checkpoint import read_json
from udacore.engine.together import on_main, write_text
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
        self._earlier: list[str] = []

    def is_complete(self) -> bool:
        """Whether all of it was written from this source."""
        manifest = read_json(self.folder / MANIFEST)
        return manifest is not None and manifest["source"] == self.source

    def begin(self) -> None:
        """Make the folder; empty it if what lies there came from other weights, and of files that a kill left half written."""

        def act() -> None:
            begun, manifest = read_json(self.folder / "source.json"), read_json(self.folder / MANIFEST)
            self._earlier = manifest["names"] if begun == self.source and manifest is not None else []
            if self.folder.exists() and begun != self.source:
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            for half_written in self.folder.rglob(".*.tmp"):  # of a process that was killed before it could rename it
                half_written.unlink()
            write_text(self.folder / "source.json", json.dumps(self.source))

        on_main(act)

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

    def finish(self, expected: Iterable[str], numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        """Write the manifest, which alone makes the overlay valid; PluginError unless the expected names were written, each once.

        numbers  what the next round notes about the overlay
        """
        written = Counter(name for share in ranks.all_gather_object(self._written) for name in share)
        wanted = set(expected)
        faults = {
            "were not written": sorted(wanted - set(written)),
            "were written twice": sorted(name for name, count in written.items() if count > 1),
            "are no images of the target": sorted(set(written) - wanted),
        }
        found = [f"{len(names)} {fault}, first {names[0]!r}" for fault, names in faults.items() if names]
        if found:
            raise PluginError(f"make_pseudo_labels: of {len(wanted)} images {'; '.join(found)}")
        self._write_manifest(list(written), numbers)

    def finish_any(self, *, required: bool) -> None:
        """The same for whatever was written; without a file the folder is removed, unless it is `required`."""
        names = [name for share in ranks.all_gather_object(self._written) for name in share]
        if names or required:
            self._write_manifest(names, {})
        else:
            on_main(lambda: None if self._earlier else shutil.rmtree(self.folder))  # what on_round_end has written stays

    def _write_manifest(self, names: list[str], numbers: Mapping[str, float]) -> None:
        def act() -> None:
            every = sorted({*self._earlier, *names})
            content = {"count": len(every), "source": self.source, "numbers": dict(numbers), "names": every}
            write_text(self.folder / MANIFEST, json.dumps(content, indent=0))

        on_main(act)


def require_overlay(folder: Path, what: str) -> Path:
    """The folder, if it was written to its end; else UdaError."""
    if read_json(folder / MANIFEST) is None:
        raise UdaError(f"{what}: {folder} is missing or incomplete; run the round that writes it first")
    return folder

