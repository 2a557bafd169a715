"""Checksums of the files of weights that a configuration names, by the setting that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from udacore.config.schema import Config, RoundConfig
from udacore.places import find_place, is_file

_WORDS = ("initial", "previous", "best", "imagenet", "random")


def weights_prints(config: Config) -> dict[str, str]:
    """SHA-256 of each file; one that is missing is left out, since it is named when it is needed."""
    found: dict[str, str] = {}
    known: dict[str, str] = {}
    for index, (name, entry) in enumerate(config.rounds.items()):
        for place, word in _named(entry, "previous" if index else "initial"):
            if word in _WORDS or word.startswith("round ") or not is_file(find_place(word)):
                continue
            if word not in known:
                with find_place(word).open("rb") as file:
                    known[word] = hashlib.file_digest(file, "sha256").hexdigest()
            found[f"rounds.{name}.{place}"] = known[word]
    return found


def compare_weights(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each setting whose file has another content now; a file that is gone is missed where it is read."""
    return [f"{place}: the content of the file" for place in now if place in before and before[place] != now[place]]


def _named(config: RoundConfig, default: str) -> Iterator[tuple[str, str]]:
    """Place and word of `weights` and, for parts that begin with it, of `initial`."""
    words = config.weights if isinstance(config.weights, dict) else {}
    whole = default if isinstance(config.weights, dict) else config.weights or default
    for part, word in words.items():
        yield f"weights.{part}", word
    if not words:
        yield "weights", whole
    initial = config.initial if isinstance(config.initial, dict) else {"segmenter": config.initial}
    for part, word in initial.items():
        if words.get(part, whole) == "initial":
            yield f"initial.{part}" if isinstance(config.initial, dict) else "initial", word
