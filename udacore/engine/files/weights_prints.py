"""Checksums of the files of weights that a configuration names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from udacore.config.references import File, list_weights
from udacore.config.schema import Config
from udacore.places import find_place


def weights_prints(config: Config) -> dict[str, str]:
    """SHA-256 of each file; one that is missing is left out, since it is named when it is needed."""
    found: dict[str, str] = {}
    known: dict[str, str] = {}
    for index, (name, entry) in enumerate(config.rounds.items()):
        for place, weights in list_weights(entry, first=not index):
            if not isinstance(weights, File) or not weights.exists():
                continue
            if weights.word not in known:
                with find_place(weights.word).open("rb") as file:
                    known[weights.word] = hashlib.file_digest(file, "sha256").hexdigest()
            found[f"rounds.{name}.{place}"] = known[weights.word]
    return found


def compare_weights(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each setting whose file has another content now; a file that is gone is
    missed where it is read."""
    return [f"{place}: the content of the file" for place in now if place in before and before[place] != now[place]]
