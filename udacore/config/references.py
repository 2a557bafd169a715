"""The values of `weights`, `initial`, `labels` and `images`, parsed in one place.

`weights: round source` and `target.labels: make` are texts in a file. Everything that acts on them takes the
values of this module, so that no two readers can disagree on a blank or a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from udacore.config.schema import RoundConfig
from udacore.places import find_place, is_file

SEGMENTER = "segmenter"


@attrs.frozen
class Initial:
    """Weights as the setting `initial` says."""


@attrs.frozen
class Previous:
    """The weights at the end of the round before."""


@attrs.frozen
class Best:
    """The weights that the latest earlier round with `keep: best` chose."""


@attrs.frozen
class OfRound:
    """What the round `name` left: its weights, its labels or its images."""

    name: str


@attrs.frozen
class File:
    """A file of weights, as it is written in the configuration: a path or `package:path`."""

    word: str

    def exists(self) -> bool:
        """Whether the file is there."""
        return is_file(find_place(self.word))


@attrs.frozen
class ImageNet:
    """torchvision's weights of ImageNet."""


@attrs.frozen
class Timm:
    """timm's weights of one of its networks."""


@attrs.frozen
class Random:
    """The weights as the model was built."""


@attrs.frozen
class NoLabels:
    """The target is drawn without labels, or not drawn."""


@attrs.frozen
class Own:
    """The source's own images."""


@attrs.frozen
class Folder:
    """A folder of labels or images, as it is written in the configuration."""

    word: str

    @property
    def path(self) -> Path:
        """Where the folder is."""
        return find_place(self.word)


Weights = Initial | Previous | Best | OfRound | File
InitialWeights = ImageNet | Timm | Random | File
Labels = NoLabels | OfRound | Folder
Images = Own | OfRound | Folder

WEIGHTS: dict[str, Weights] = {"initial": Initial(), "previous": Previous(), "best": Best()}
INITIAL: dict[str, InitialWeights] = {"imagenet": ImageNet(), "timm": Timm(), "random": Random()}
RESERVED = ("own", "none", "make", *WEIGHTS)
"""Words that stand where a round's name may stand: no round has one of them as its name."""


def default_weights(first: bool) -> str:
    """The word of `weights` where none is given: `initial` in the first round, then `previous`."""
    return "initial" if first else "previous"


def parse_weights(word: str) -> Weights:
    """The value of a word of `weights`; whatever is no known word is a file."""
    first, _, rest = word.strip().partition(" ")
    if first == "round" and rest.strip():
        return OfRound(rest.strip())
    return WEIGHTS.get(word.strip()) or File(word)


def parse_initial(word: str) -> InitialWeights:
    """The value of a word of `initial`."""
    return INITIAL.get(word.strip()) or File(word)


def weights_of(config: RoundConfig, part: str, first: bool) -> Weights:
    """The weights that a part of the model begins with; `first`: in the first round of the run."""
    words = config.weights
    word = words.get(part) if isinstance(words, Mapping) else words
    return parse_weights(default_weights(first) if word is None else word)


def initial_of(config: RoundConfig, part: str) -> InitialWeights:
    """What `initial` means for a part: ImageNet's weights for the segmenter by
    default, as built for others."""
    default = "imagenet" if part == SEGMENTER else "random"
    if isinstance(config.initial, Mapping):
        return parse_initial(config.initial.get(part, default))
    return parse_initial(config.initial if part == SEGMENTER else default)


def list_weights(config: RoundConfig, first: bool) -> Iterator[tuple[str, Weights | InitialWeights]]:
    """Setting and value of all weights that a round names; of `initial` those for
    parts that begin with it."""
    if isinstance(config.weights, Mapping):
        yield from ((f"weights.{part}", parse_weights(word)) for part, word in config.weights.items())
    else:
        yield "weights", weights_of(config, SEGMENTER, first)
    is_one = not isinstance(config.initial, Mapping)
    for part in (SEGMENTER,) if is_one else config.initial:
        settings = config.parts.get(part)
        is_fixed = settings is not None and (settings.frozen or bool(settings.freeze))
        if is_fixed or weights_of(config, part, first) == Initial():
            yield "initial" if is_one else f"initial.{part}", initial_of(config, part)


def labels_of(rounds: Mapping[str, RoundConfig], name: str) -> Labels:
    """Where the pseudo labels of a round come from; a round that does not draw the target reads none."""
    word = rounds[name].target.labels.strip()
    names = list(rounds)
    if word == "none" or "target" not in rounds[name].draws:
        return NoLabels()
    if word == "make":
        return OfRound(names[names.index(name) - 1])
    return OfRound(word) if word in rounds else Folder(rounds[name].target.labels)


def images_of(rounds: Mapping[str, RoundConfig], name: str) -> Images:
    """Where the source images of a round come from; a round that does not draw the source replaces none."""
    word = rounds[name].source.images.strip()
    if word == "own" or "source" not in rounds[name].draws:
        return Own()
    return OfRound(word) if word in rounds else Folder(rounds[name].source.images)
