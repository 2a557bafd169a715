"""Whole training iterations of the reference vectors, by the plugin's hooks."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import numpy as np
import torch
import udacore_bdl
from torch import Tensor, nn
from udacore_bdl.checkpoints import DEEPLAB
from udacore_bdl.settings import Settings

from udacore.config.schema import ModelConfig, RoundConfig
from udacore.interface import RoundInfo, SourceBatch, Step, TargetBatch
from udacore.models.layouts import convert_checkpoint
from udacore.models.weights import load_children
from udacore.testing.golden import Arrays, Operation, fill_state_dict
from udacore.testing.steps import take_steps

sys.path.append(str(Path(__file__).resolve().parent))
from golden_bdl_core_ops import SPACE, preset_round

LIVE = ModelConfig(batch_norm="live")
CHANGES = {
    "conv1": ("conv1.weight", np.s_[:8]),
    "block_conv": ("layer4.2.conv3.weight", np.s_[:16, :16, 0, 0]),
    "downsample": ("layer1.0.downsample.0.weight", np.s_[:16, :16, 0, 0]),
    "head_bias": ("layer5.conv2d_list.3.bias", np.s_[:]),
}
STATISTICS = {"running_mean_bn1": "bn1.running_mean", "running_var_bn1": "bn1.running_var", "running_mean_last": "layer4.2.bn1.running_mean"}


def filled(module: nn.Module, prefix: str = "") -> nn.Module:
    """The module with the weights that the rule of the vectors gives its keys after `prefix`."""
    rows = [(prefix + key, list(value.shape), str(value.dtype)) for key, value in module.state_dict().items()]
    module.load_state_dict({key.removeprefix(prefix): torch.tensor(value) for key, value in fill_state_dict(rows).items()})
    return module


def filled_deeplab(settings: Settings, info: RoundInfo) -> nn.Module:
    """The round's model with a DeepLab that came from a file of the authors' layout."""
    model = udacore_bdl.build_model(settings=settings, architecture=LIVE, round=info)
    ours = {key: value for key, value in model.state_dict().items() if key.startswith(("backbone.", "classifier.conv2d"))}
    theirs = [(key.replace("classifier.", "layer5.").removeprefix("backbone."), list(v.shape), str(v.dtype)) for key, v in ours.items()]
    state = {key: torch.tensor(value) for key, value in fill_state_dict(theirs).items()}
    load_children(model, convert_checkpoint(state, DEEPLAB), where="reference vectors")
    return model


def info(name: str, trains: tuple[str, ...], steps: int) -> RoundInfo:
    return RoundInfo(name=name, index=2, steps=steps, trains=trains, classes=SPACE.classes)


def source_batch(image: Tensor, label: Tensor | None = None) -> SourceBatch:
    shape = (len(image), *image.shape[-2:])
    label = torch.zeros(shape, dtype=torch.int64) if label is None else label
    return SourceBatch(image=image, label=label, name=("a",) * len(image), valid=torch.ones(shape, dtype=torch.bool))


def target_batch(image: Tensor, label: Tensor | None = None) -> TargetBatch:
    valid = torch.ones(len(image), *image.shape[-2:], dtype=torch.bool)
    return TargetBatch(image=image, name=("b",) * len(image), valid=valid, pseudo_label=label)


def train_step(inputs: Arrays, params: dict) -> Arrays:
    """Iterations of the core's updater under the preset's optimisers, in float64."""
    config: RoundConfig = preset_round("DeepLab")
    given = dict(zip(params["arguments"][::2], params["arguments"][1::2], strict=True))
    settings = attrs.evolve(config.method, lambda_adv=float(given.get("--lambda-adv-target", config.method.lambda_adv)))
    config = attrs.evolve(config, method=settings)
    round = info("adapt-1", ("segmenter", "discriminator"), config.steps)
    model = filled_deeplab(settings, round)
    filled(model.discriminator)
    model.double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    names = ("loss/cross_entropy", "loss/pseudo_label", "unweighted_adversarial", "loss/discriminator/source", "loss/discriminator/target")
    sources, targets = [], []
    for j in range(len(inputs["source_images"])):
        labels = torch.tensor(inputs["target_labels"][j]) if params["use_pseudo_labels"] else None
        sources.append(source_batch(torch.tensor(inputs["source_images"][j]).double(), torch.tensor(inputs["source_labels"][j])))
        targets.append(target_batch(torch.tensor(inputs["target_images"][j]).double(), labels))
    rows = take_steps(udacore_bdl, config, model, sources, targets, round=round)
    columns = [[row.get(name, [0.0])[0] for name in names] for row in rows]
    after = model.state_dict()
    moved = {f"delta_{name}": (after[_ours(key)] - before[_ours(key)])[place].numpy() for name, (key, place) in CHANGES.items()}
    return {"losses": np.array(columns).T, **moved, **{name: after[_ours(key)].numpy() for name, key in STATISTICS.items()}}


def _ours(key: str) -> str:
    return next(iter(convert_checkpoint({key: torch.zeros(1)}, DEEPLAB)))


def translation_step(inputs: Arrays, params: dict) -> Arrays:
    """Both hooks of a translation round; gradients of each part's own losses."""
    settings = Settings(
        network="deeplab-caffe", head_branches=2, translate=True, perceptual_batches="single",
        ngf=params["ngf"], ndf=params["ndf"], blocks=params["blocks"], lambda_a=params["lambda_A"], lambda_b=params["lambda_B"],
        lambda_identity=params["lambda_identity"], lambda_semantic=params["lambda_semantic"], lambda_translated=params["lambda_translated"],
    )  # fmt: skip
    round = info("translate-1", ("translators", "critics"), 1)
    model = filled_deeplab(settings, round).eval().requires_grad_(False)
    for part in (model.translators, model.critics):
        for name, network in part.named_children():
            filled(network, f"{name}.").requires_grad_()
    step = Step(
        settings=settings, round=round, index=0, micro=0, model=model, source=source_batch(torch.tensor(inputs["real_A"])),
        target=target_batch(torch.tensor(inputs["real_B"])), generator=torch.Generator(), record=lambda name, value: None,
    )  # fmt: skip
    losses: dict[str, Tensor] = {}
    for hook in (udacore_bdl.source_loss, udacore_bdl.target_loss):
        terms = hook(step=step)
        for part in ("translators", "critics"):
            own = [value for name, value in terms.items() if name.startswith(part)]
            if own:
                torch.stack(own).sum().backward(inputs=list(model.get_submodule(part).parameters()), retain_graph=True)
        losses |= {name.partition("/")[2]: value.detach() for name, value in terms.items()}
    order = [f"{kind}_{side}" for side in "AB" for kind in ("D", "gan", "cycle", "identity", "semantic", "reconstruction")]
    values = [float(losses.get(name, torch.zeros(()))) for name in order]
    total = sum(value for name, value in zip(order, values, strict=True) if not name.startswith("D_"))
    last = f"model.{params['blocks'] + 17}.weight"
    return {
        "losses": np.array([*values, total]),
        **{f"grad_G_{side}": model.translators.get_parameter(f"G_{side}.{last}").grad.numpy() for side in "AB"},
        **{f"grad_D_{side}": model.critics.get_parameter(f"D_{side}.model.11.weight").grad.numpy() for side in "AB"},
    }


STEP_OPS: dict[str, Operation] = {"bdl.train_step": train_step, "bdl.translation.step": translation_step}
