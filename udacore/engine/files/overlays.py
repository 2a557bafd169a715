"""Overlays: labels and images that one round writes and a later one reads; complete only with a manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from udacore import ranks
from udacore.data.reading import write_image, write_label
from udacore.engine.files.json_files import read_json_or_none
from udacore.engine.machine.main_rank import on_main
from udacore.errors import PluginError, UdaError
from udacore.files import PART, find_png_damage, write_text
from udacore.labels import LabelSpace

MANIFEST = "manifest.json"


class Overlay:
    """A folder of files by image name, written by all ranks, each its own share.

    source  digest of the weights that the content comes from: complete files of the same source are kept on
            resume, those of another are removed first
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self._written: list[str] = []
        self._earlier: list[str] = []

    def is_complete(self) -> bool:
        """Whether all of it was written from this source."""
        manifest = read_manifest(self.folder)
        return manifest is not None and manifest["source"] == self.source

    def remove_damaged(self) -> list[str]:
        """Remove the files that lost a byte since they were written, or are gone, and the
        manifest; returns their names.

        Called by the main process. What is left is kept when the overlay is written again.
        """
        manifest = read_manifest(self.folder)
        if manifest is None:
            return []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            sound = list(pool.map(lambda name: _is_sound(self.folder / f"{name}.png"), manifest["names"]))
        damaged = [name for name, is_sound in zip(manifest["names"], sound, strict=True) if not is_sound]
        if damaged:
            (self.folder / MANIFEST).unlink()
            for name in damaged:
                (self.folder / f"{name}.png").unlink(missing_ok=True)
        return damaged

    def begin(self) -> None:
        """Make the folder; empty it if what lies there came from other weights, and of files that
        a kill left half written."""

        def act() -> None:
            begun, manifest = read_json_or_none(self.folder / "source.json"), read_manifest(self.folder)
            self._earlier = manifest["names"] if begun == self.source and manifest is not None else []
            if self.folder.exists() and begun != self.source:
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            for half_written in [*self.folder.rglob(f"*{PART}"), *self.folder.rglob(".*.tmp")]:  # version 0.1: .tmp
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
        """Write an H W 3 uint8 image, unless it is there already."""
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise PluginError(f"write_image: {name!r} must be H W 3 uint8, got {image.dtype} {image.shape}")
        path = self.folder / f"{name}.png"
        if not path.exists():
            write_image(path, image)
        self._written.append(name)

    def finish(self, expected: Iterable[str], numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        """Write the manifest, which alone makes the overlay valid; PluginError unless the expected names
        were written, each once.

        numbers  what the next round notes about the overlay
        """
        written = Counter(name for share in ranks.all_gather_object(self._written) for name in share)
        wanted = set(expected)
        lacking, extra = sorted(wanted - set(written)), sorted(set(written) - wanted)
        twice = sorted(name for name, count in written.items() if count > 1)
        faults = [f"no label for {len(lacking)} of {len(wanted)} target images (first: {lacking[0]!r})"] if lacking else []
        faults += [f"more than one label for {len(twice)} images (first: {twice[0]!r})"] if twice else []
        faults += [f"{len(extra)} names that are not target images (first: {extra[0]!r})"] if extra else []
        if faults:
            raise PluginError(f"make_pseudo_labels yielded {'; '.join(faults)}")
        self._write_manifest(list(written), numbers)

    def finish_any(self, *, required: bool) -> None:
        """The same for whatever was written; without a file the folder is removed,
        unless it is `required`."""
        names = [name for share in ranks.all_gather_object(self._written) for name in share]
        if names or required:
            self._write_manifest(names, {})
        else:
            on_main(lambda: None if self._earlier else shutil.rmtree(self.folder))  # what on_round_end has written stays

    def _write_manifest(self, names: list[str], numbers: Mapping[str, float]) -> None:
        # Written last, by one rename. If the run dies first, there is no manifest, so no round uses the
        # folder. On resume, files from the same weights are kept, and those from others are deleted.
        def act() -> None:
            every = sorted({*self._earlier, *names})
            content = {"count": len(every), "source": self.source, "numbers": dict(numbers), "names": every}
            write_text(self.folder / MANIFEST, json.dumps(content, indent=0))

        on_main(act)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an overlay, or None if it is missing, cut off or of another form."""
    content = read_json_or_none(folder / MANIFEST)
    if not isinstance(content, dict) or not isinstance(content.get("names"), list):
        return None
    is_named = all(isinstance(name, str) for name in content["names"])
    return content if is_named and {"source", "numbers", "count"} <= set(content) else None


def _is_sound(path: Path) -> bool:
    try:
        return find_png_damage(path.read_bytes()) is None
    except OSError:
        return False


def require_overlay(folder: Path, what: str) -> Path:
    """The folder, if it was written to its end; else UdaError."""
    if read_manifest(folder) is None:
        raise UdaError(f"{what}: {folder} is missing or incomplete; run the round that writes it first")
    return folder

