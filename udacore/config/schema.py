"""Every setting of a run, with its default and one line of help. Does not import torch,
so `uda config` is quick.

`RoundConfig` is what a round may choose for itself; values at the top level of a file are the defaults of all
rounds. `Config` adds what holds for the whole run.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from udacore.config.networks import NETWORKS as NETWORKS
from udacore.config.networks import TIMM as TIMM
from udacore.config.networks import ModelConfig as ModelConfig
from udacore.config.networks import PixelConfig as PixelConfig
from udacore.config.samples import ExtraConfig as ExtraConfig
from udacore.config.samples import MarginConfig as MarginConfig
from udacore.config.samples import SamplerConfig as SamplerConfig
from udacore.config.samples import TileConfig as TileConfig
from udacore.config.transforms import LONGEST_SIDE, TRANSFORMS, Interpolation
from udacore.datasets import list_datasets
from udacore.options import option

Size = tuple[int, int]


@attrs.frozen(kw_only=True)
class DataConfig:
    """Which images: a data set as users have it on disk, or the embedded one."""

    dataset: str = option(
        "streets", "kind of data set: where its files lie and how its labels are encoded", choices=list_datasets
    )
    root: str | None = option(None, "folder of the data set; default: $UDACORE_DATA/<dataset>, else datasets/<dataset>")
    split: str = option(
        "train", "part of the data set: train, val or test; a data set of one part has train alone"
    )
    condition: str = option(
        "all", "acdc (fog, night, rain, snow) and dark_zurich (day, twilight, night) only: which; all: every one"
    )
    scene: str = option("all", "loveda only: urban, rural or all")
    beta: float = option(
        0.02, "foggy_cityscapes only: density of the fog, as the names of its files end; released are 0.005, 0.01 and 0.02", above=0
    )
    list_: str | None = option(None, "text file of image names (or image<TAB>label), one a line; package:path for a file in a package")
    except_: str | None = option(None, "text file of image names to leave out; those that are not there are passed over, unless none is")
    image_folder: str = option("images", "folder only: where the images lie below root")
    label_folder: str = option("labels", "folder only: where the labels lie below root")
    label_suffix: str = option("", "folder only: what a label's name has after the image's name without suffix, before .png")
    label_map: dict[int, str | int] | None = option(None, "folder only: raw label value to class name or id; what is not listed is ignored")
    label_colours: dict[str, str | int] | None = option(
        None, "folder, potsdam and vaihingen only: colour in the label, as `255 0 0`, to class name or id; 255: ignored"
    )
    label_channel: Literal["red", "green", "blue", "alpha"] | None = option(
        None, "folder only: channel of an RGB or RGBA label that holds the numbers"
    )
    bands: Literal["rgb", "irrg"] = option(
        "rgb", "potsdam only: colours of the images; irrg: infrared, red, green, as vaihingen has"
    )
    eroded: bool = option(False, "potsdam and vaihingen only: labels without the borders between objects")
    pair: Literal["W", "P", "L"] = option("W", "streets only: the pair of domains (W weather and shadow, P palette, L camera)")
    domain: Literal["source", "target"] | None = option(None, "streets only: the domain; default: the one this entry stands for")
    count: int | None = option(None, "use only the first images of the list; streets: how many are drawn", at_least=1, at_most=10**7)
    tile: TileConfig = option(
        factory=TileConfig, help="windows of an image as samples of their own; a set that is scored counts each pixel once"
    )
    image_size: Size = option((128, 64), "streets only: width and height of the images", at_least=16, at_most=LONGEST_SIDE)
    data_seed: int = option(0, "streets only: seed of the images", at_least=0)
    label_space: str | None = option(
        None, "classes of this set's labels, which meet those of the round by name; default: those of the round"
    )


@attrs.frozen(kw_only=True)
class SetConfig(DataConfig):
    """One of the named sets of a domain. What it does not say is as its domain says: all of it, or for
    another `dataset` sampler and transform."""

    share: float | str | None = option(
        None, "share of each batch, as 0.25 or 1/3; default: sets without one divide what the others leave"
    )
    sampler: SamplerConfig = option(factory=SamplerConfig, help="order of the images")
    transform: dict[str, Any] = option(factory=dict, help="ordered steps from file to network input", keyed=TRANSFORMS)
    extras: dict[str, ExtraConfig] = option(factory=dict, help="further maps of each image; alike in all sets of a domain")


@attrs.frozen(kw_only=True)
class SourceConfig(DataConfig):
    """The labelled domain."""

    images: str = option("own", "images: own, the name of a round that wrote images, or a folder of replacements")
    sampler: SamplerConfig = option(factory=SamplerConfig, help="order of the images")
    transform: dict[str, Any] = option(factory=dict, help="ordered steps from file to network input", keyed=TRANSFORMS)
    extras: dict[str, ExtraConfig] = option(factory=dict, help="further maps of each image, which a method sees as batch.extra[NAME]")
    sets: dict[str, SetConfig] = option(factory=dict, help="several data sets as one domain, by names of your own")


@attrs.frozen(kw_only=True)
class TargetConfig(DataConfig):
    """The domain without labels."""

    labels: str = option("none", "pseudo labels: none, make (by the round before), the name of a round that made some, or a folder")
    sampler: SamplerConfig = option(factory=SamplerConfig, help="order of the images")
    transform: dict[str, Any] = option(factory=dict, help="ordered steps from file to network input", keyed=TRANSFORMS)
    extras: dict[str, ExtraConfig] = option(factory=dict, help="further maps of each image, which a method sees as batch.extra[NAME]")
    sets: dict[str, SetConfig] = option(factory=dict, help="several data sets as one domain, by names of your own")


@attrs.frozen(kw_only=True)
class ScheduleConfig:
    """Learning rate as a factor of the part's `lr`, by optimiser step. Counts may be written `20 epochs`."""

    name: Literal["constant", "poly", "cosine", "step", "linear", "exp", "inv"] = option("constant", "form of the schedule")
    power: float = option(0.9, "poly, inv: exponent")
    horizon: int | str | None = option(
        None, "poly, cosine: step at which the rate is lowest, whatever the round's steps are; default: the round's steps"
    )
    lowest: float = option(0.0, "cosine: factor at the horizon and after it", at_least=0, at_most=1)
    lag: int = option(0, "poly, cosine: the rate of step t is that of t - lag; in steps alone", at_least=0)
    at: tuple[int | str, ...] = option((), "step: when the rate is multiplied")
    factor: float = option(0.1, "step, exp, inv: gamma", above=0)
    from_: int | str = option(0, "linear: step at which the descent begins")
    over: int | str | None = option(None, "linear: steps from there to 0; default: the rest of the round")
    stairs: int | str = option(1, "linear: steps over which the rate stays the same, such as `1 epochs`")
    warmup: int | str = option(0, "steps over which the rate rises linearly from 1/warmup")
    warmup_from: float | None = option(
        None, "the rise begins with this factor instead, at the first step, and ends with 1 at step `warmup`", at_least=0, at_most=1
    )


COUNTS = ("horizon", "from_", "over", "stairs", "warmup")
"""Settings of a schedule that count steps, or epochs in words; `at` has several, and
`lag` is in steps alone."""


@attrs.frozen(kw_only=True)
class PartConfig:
    """A part of the model with its own optimiser."""

    optimizer: str = option("SGD", "a class of torch.optim, or module:Class")
    lr: float = option(2.5e-4, "learning rate", at_least=0, at_most=1e30)
    options: dict[str, Any] = option(factory=dict, help="further arguments of the optimiser: momentum, weight_decay, betas ...")
    groups: dict[str, float | dict[str, Any]] = option(
        factory=dict,
        help="pattern of parameter names -> rate factor, or options of their own (lr_factor among them); with {depth} in the "
        "pattern `decay` is the factor from each depth to the next lower one",
    )
    no_decay: tuple[str, ...] = option((), "patterns of parameter names without weight decay")
    schedule: ScheduleConfig = option(factory=ScheduleConfig, help="learning rate over the steps")
    frozen: bool = option(
        False, "never trained, in evaluation mode, filled from `initial.NAME` in every round, and in no checkpoint: the file's SHA-256 is"
    )
    dtype: Literal["float32", "bf16", "fp16"] | None = option(None, "precision of a frozen part; what it takes and gives stays float32")
    freeze: tuple[str, ...] = option(
        (), "patterns of parameter names that are not trained; those that `initial` fills are in no checkpoint: the file's SHA-256 is"
    )
    clip: float | None = option(
        None, "largest norm of all gradients of the part together, over all processes and micro-batches; longer ones are shortened to it", above=0
    )


@attrs.frozen(kw_only=True)
class EvaluationConfig(DataConfig):
    """A labelled set and the protocol under which it is scored (algorithms/datasets 7)."""

    split: str = option("val", "part of the data set")
    size: Size | None = option(None, "width and height of the network input; default: the image's own", at_least=1, at_most=LONGEST_SIDE)
    interpolation: Interpolation = option(
        "bicubic", "how the image is resized to it; opencv: bilinear from the nearest pixels alone, also when shrinking"
    )
    upsample: Literal["logits", "probability"] = option("logits", "what is enlarged to the size of the label")
    align_corners: bool | None = option(None, "corner rule of that enlargement; default: the model's")
    scales: tuple[float, ...] = option((1.0,), "sizes, relative to the input, whose probabilities are averaged", above=0, at_most=100)
    flip: bool = option(False, "average with the mirrored image")
    window: Size | None = option(None, "width and height of a sliding window; default: the whole image", at_least=1, at_most=LONGEST_SIDE)
    stride: Size | None = option(None, "step of the sliding window; default: two thirds of it", at_least=1, at_most=LONGEST_SIDE)
    window_batch: int = option(1, "windows of an image that go through the network together", at_least=1, at_most=2**16)
    absent: Literal["zero", "nan"] = option("nan", "a class in neither labels nor predictions: counted as 0, or left out of the mean")
    subsets: tuple[str, ...] = option(
        (),
        "further label spaces whose mean is taken from the same counts, such as synthia13; NAME:alone ignores pixels of other "
        "classes, NAME:sum divides the sum of all IoUs by its number of classes"
    )
    head: str | None = option(None, "output of the model that is scored; default: logits")
    network: str | None = option(None, "child of the model that is scored in its place, such as `teacher`; default: the model itself")
    every: int | str = option(0, "steps between evaluations; 0: only at the end of a round")
    batch: int = option(1, "images at a time", at_least=1, at_most=2**16)


@attrs.frozen(kw_only=True)
class PseudoLabelConfig:
    """The core's own pseudo labels: argmax with class-wise thresholds. A method may make its own."""

    percent: float = option(0.5, "share of a class's pixels below its threshold", at_least=0, at_most=1)
    cap: float = option(0.9, "no threshold is higher", at_least=0, at_most=1)
    flip: bool = option(False, "average with the mirrored image")
    size: Size | None = option(None, "width and height of the network input; default: the target's resize", at_least=1, at_most=LONGEST_SIDE)


@attrs.frozen(kw_only=True)
class RoundConfig:
    """What a round may choose. `null` in a round brings back the default."""

    steps: int | str = option(0, "optimiser steps; `20 epochs` is possible; 0: the round's work was done elsewhere")
    draws: tuple[Literal["source", "target"], ...] = option(("source", "target"), "domains that are drawn")
    update: Literal["accumulate", "joint", "alternate"] = option(
        "accumulate", "accumulate: backward after each loss, one step; joint: one backward over both; alternate: a step after each domain"
    )
    batch: int = option(8, "images of each domain for one optimiser step, over all processes", at_least=1, at_most=2**16)
    accumulation: int = option(1, "micro-batches that an optimiser step is split into", at_least=1)
    weights: str | dict[str, str] | None = option(
        None, "initial, previous, best, `round NAME`, a file, or part -> one of these; default: initial in the first round, then previous"
    )
    weights_except: tuple[str, ...] = option(
        (), "children of the model that stay as built whatever the weights hold, such as [classifier] for other classes"
    )
    initial: str | dict[str, str] = option("imagenet", "imagenet, timm, random, or part -> word or file: where `initial` weights come from")
    initial_sha256: str | None = option(None, "SHA-256 of the segmenter's initial file, or its first digits; default: those in its name")
    keep: Literal["last", "best"] = option("last", "which model a round ends with")
    best_on: str | None = option(None, "evaluation set by which `best` is chosen; default: the first")
    label_space: str = option("streets", "cityscapes19, synthia16, streets, loveda7, isprs6, or a YAML file of own classes")
    pixels: PixelConfig = option(factory=PixelConfig, help="normalisation of the input")
    model: ModelConfig = option(factory=ModelConfig, help="the segmenter")
    parts: dict[str, PartConfig] = option(factory=lambda: {"segmenter": PartConfig()}, help="parts of the model and their optimisers")
    trains: tuple[str, ...] | None = option(None, "parts that this round trains; default: all that the model has")
    source: SourceConfig = option(factory=SourceConfig, help="labelled domain")
    target: TargetConfig = option(factory=TargetConfig, help="domain without labels")
    evaluate: dict[str, EvaluationConfig] = option(factory=dict, help="named labelled sets and their protocols")
    pseudo_labels: PseudoLabelConfig = option(factory=PseudoLabelConfig, help="the core's own pseudo labels")
    method: Any = option(factory=dict, help="settings of the plugin")


@attrs.frozen(kw_only=True)
class Config:
    """What holds for the whole run."""

    plugin: str = option("source-only", "method: the name of an installed plugin, or a Python file")
    name: str | None = option(None, "name of the run; default: <plugin>-<preset>")
    folder: str = option("runs", "where run folders are made")
    seed: int = option(0, "seed of every random draw", at_least=0)
    control: bool = option(False, "repeat the run as its matched control: every loss on the target is multiplied by 0")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps")
    deterministic: bool = option(False, "CUDA: only operations with a deterministic backward")
    threads: int | None = option(None, "CPU threads of torch; default: torch's own choice", at_least=1, at_most=1024)
    amp: Literal["off", "bf16", "fp16"] = option(
        "off", "losses and forwards under autocast; fp16, for GPUs without bf16: losses are scaled, by a scale for each part"
    )
    channels_last: bool = option(False, "memory format of images and networks")
    compile: bool = option(False, "torch.compile for the model")
    workers: int = option(2, "processes that read images, for each domain; 0: none", at_least=0, at_most=1024)
    log_every: int = option(20, "steps between log lines", at_least=1)
    save_every: int = option(1000, "steps between checkpoints", at_least=1)
    tensorboard: bool = option(True, "write TensorBoard files")
    quick: int | None = option(None, "a record: `uda run --quick N` wrote this configuration, its steps divided by N", at_least=1)
    rounds: dict[str, RoundConfig] = option(factory=dict, help="the rounds, in order; each overrides what stands above")
