"""The five hooks: the whole contract between the core and a method.

A hook implementation is a function without memory; what a method remembers lives in buffers of the model.
pluggy passes only the arguments that an implementation names, so leave out what you do not need. `None`
always means "do what the core does". Built by one plugin: `source_only.py`; read it first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pluggy
from torch import nn

from udacore.config.schema import ModelConfig
from udacore.interface import Losses, RoundEnd, RoundInfo, Step

PROJECT = "udacore"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec(firstresult=True)
def build_model(settings: Any, architecture: ModelConfig, round: RoundInfo) -> nn.Module | None:
    """Build the network of a round.

    Called at the start of every round, also on resume; the core loads weights and moves
    it to the device afterwards.

    settings      the plugin's settings, as overridden by the round
    architecture  what the configuration says about the segmenter, for
                  `udacore.models.build_segmenter(architecture, num_classes)`
    round         which round this is; `len(round.classes)` is the number of classes

    Returns a module: the segmenter, called as `model(image)` with N 3 H W and giving an `Output`, with the
    attributes `num_classes` and `align_corners` (how its logits are enlarged; both come with
    `build_segmenter`); the further parts this round needs (a discriminator, a projection) as direct children;
    all that the method remembers (prototypes, banks, counts, the weights of a teacher) as buffers. None: the
    core's segmenter.

    The core calls the network as `model(image)`, with `head=` only where an evaluation asks for one of its
    `head_names`. A hook may pass `domain="source"` or `"target"` to any network, which matters under
    `batch_norm: domain` alone: a forward that does not take it does not get it, and the layers of the domain
    are used all the same. What else a hook passes, its network must take. `with
    udacore.models.use_domain(model, "target"):` says the same of all calls inside; so the core does when it
    evaluates, makes pseudo labels and learns from them.

    A direct child with an entry under `parts:` is trained by an optimiser of its own; all other parameters
    belong to the part `segmenter`. A child with `frozen: true` there is never trained: the core fills it from
    `initial.NAME`, and copies of the model inside of it (a teacher) use it as it is. Read: fada (a
    discriminator), proca (buffers).
    """


@hookspec(firstresult=True)
def source_loss(step: Step) -> Losses | Iterator[Losses]:
    """The loss on a labelled batch.

    Called once a micro-batch if the round draws the source. See `Step` for shapes; all
    tensors are on the device.

    Returns a scalar, or scalars by name; `discriminator/real` trains the part `discriminator`, a bare name
    the segmenter. `{}`: no loss. None: cross-entropy on the enlarged logits. Put what `target_loss` needs
    into `step.kept`. A loss over no valid pixel is a zero that still has a graph.

    A hook may also yield its losses one after another, each a scalar or scalars by name. Each yield is
    scaled, recorded and carried back into its part before the hook goes on, and its graph is freed, so that
    the memory is that of the largest yield and not of their sum; the gradients add up. Let go of names that
    hold a graph (`del logits`); a later yield that reaches into the graph of an earlier one is an error.
    Under `update: joint` the yields are collected. A name that is yielded twice is recorded as the sum, a
    yield of nothing is no loss, and a generator never falls back to the core's loss.

    The matched control leaves these losses as they are. A method that changes source images here in favour of
    the target (a style, a mixture) leaves that out where `step.round.control` is true; else its control is
    the method itself. A loss on mixtures of both domains belongs into `target_loss`, which has both batches.
    """


@hookspec(firstresult=True)
def target_loss(step: Step) -> Losses | Iterator[Losses]:
    """The loss on a target batch; there is no label to look at.

    Called once a micro-batch if the round draws the target, after `source_loss`; if it draws the source too,
    that batch is still in `step.source`. Under `update: joint` the graph of `source_loss` is still alive;
    under `accumulate` (the default) it is gone, and `step.kept` should hold detached tensors only.

    Returns or yields as `source_loss`. None: cross-entropy on the round's pseudo labels, if it has some, else
    no loss. In the matched control (`control: true`) the core multiplies every loss returned here by 0.
    """


@hookspec(firstresult=True)
def on_round_end(round: RoundEnd) -> Mapping[str, float] | None:
    """Look over the data once more after the last step: initialise prototypes, count
    classes, translate images.

    Called once a round, after the kept model is loaded, on all ranks, in evaluation mode, without gradient.
    Buffers of `round.model` may be changed in place; they are saved afterwards. If the process is killed
    meanwhile, the whole hook runs again from the state before it.

    Returns numbers to record, by name, or None.
    """


@hookspec(firstresult=True)
def make_pseudo_labels(round: RoundEnd) -> Iterable[tuple[str, np.ndarray]] | None:
    """Label the target's training images for the round that follows.

    Called after `on_round_end` if a later round takes its labels (`target.labels: make` of the next one, or
    this round's name), with this round's model and settings.

    Returns an iterator of (image name, H W uint8 class ids with 255 = ignore); each rank yields the images of
    its own `round.target()` and the core writes them. The size of a map need not be the image's. None: the
    argmax of the probability where it reaches the class's threshold, as `pseudo_labels:` in the configuration
    says.
    """
