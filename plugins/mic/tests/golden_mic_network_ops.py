"""Operations of the reference vectors that belong to the networks."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from udacore_mic.checkpoints import RELEASED
from udacore_mic.detail import crop_box, fuse, merge_windows, slide_boxes
from udacore_mic.heads import DAFormerHead
from udacore_mic.losses import detail_losses
from udacore_mic.networks import Detail, Network, build_network
from udacore_mic.transformer import Block, MiT, MiTSettings, PatchEmbedding, drop_path_rates

from udacore.config.schema import PartConfig, RoundConfig, ScheduleConfig
from udacore.inference import slide
from udacore.losses import upsample
from udacore.models import make_batch_norm
from udacore.models.layouts import convert_checkpoint
from udacore.models.weights import load_state
from udacore.schedules import rate
from udacore.testing.golden import Arrays, Operation, fill_state_dict
from udacore.testing.steps import make_optimizers

TINY = MiTSettings(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), heads=(1, 2, 3, 4), drop_path=0.0)


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def filled(model: nn.Module, layout: list[Any]) -> nn.Module:
    """A module with the weights of the fill rule, whose layout has its own keys."""
    model.load_state_dict({key: torch.tensor(value) for key, value in fill_state_dict(layout).items()})
    return model.eval()


def patch_embed(inputs: Arrays, params: dict) -> Arrays:
    after, before = inputs["proj.weight"].shape[:2]
    layer = PatchEmbedding(before, after, params["kernel"], params["stride"])
    layer.load_state_dict({name: torch.tensor(inputs[name]) for name in layer.state_dict()})
    x = leaf(inputs["map"])
    tokens, size = layer(x)
    (tokens * torch.tensor(inputs["upstream"])).sum().backward()
    return {"tokens": tokens.detach().numpy(), "size": np.array(size), "grad_map": x.grad.numpy()}


def mit_block(inputs: Arrays, params: dict) -> Arrays:
    block = Block(inputs["norm1.weight"].size, params["heads"], params["reduction"], params["mlp_ratio"]).eval()
    block.load_state_dict({name: torch.tensor(inputs[name]) for name in block.state_dict()})
    x = leaf(inputs["tokens"])
    result = block(x, tuple(params["size"]))
    (result * torch.tensor(inputs["upstream"])).sum().backward()
    return {"tokens": result.detach().numpy(), "grad_tokens": x.grad.numpy()}


def rates(inputs: Arrays, params: dict) -> Arrays:
    return {"rate": np.array(drop_path_rates(tuple(params["depths"]), params["rate"]))}


def mit_forward(inputs: Arrays, params: dict) -> Arrays:
    names = {"widths": "embed_dims", "heads": "num_heads", "ratios": "mlp_ratios", "depths": "depths", "reductions": "sr_ratios"}
    encoder = filled(MiT(MiTSettings(**{ours: tuple(params[name]) for ours, name in names.items()})), params["layout"])
    image = leaf(inputs["image"])
    maps = encoder(image)
    sum((x**2).mean() for x in maps).backward()
    stages = {f"stage{number}": x.detach().numpy() for number, x in enumerate(maps, start=1)}
    return {**stages, "grad_image": image.grad.numpy()}


def daformer_head(inputs: Arrays, params: dict) -> Arrays:
    norm = make_batch_norm("train")
    head = DAFormerHead(params["in_channels"], params["num_classes"], norm, width=params["channels"], dropout=0.0)
    filled(head, params["layout"]).train(params["mode"] == "train")
    maps = {name: leaf(value) for name, value in inputs.items() if name.startswith("feature")}
    logits = head([maps[name] for name in sorted(maps)])
    (logits * torch.tensor(inputs["upstream"])).sum().backward()
    return {"logits": logits.detach().numpy(), **{f"grad_{name}": x.grad.numpy() for name, x in maps.items()}}


def released_network(params: dict) -> Network:
    """The network of a case, with the weights of the fill rule read as a checkpoint of the authors."""
    detail = Detail(window=tuple(params["crop"]), attention=16 if params["network"] == "tiny" else 256) if "crop" in params else None
    encoders = {"daformer": "mit_b5", "hrda": "mit_b5", "tiny": TINY}
    encoder = encoders.get(params["network"], "resnet101_v1c")
    further = {"dilations": params["dilations"]} if "dilations" in params else {}
    network = build_network(encoder, params["num_classes"], detail=detail, width=16 if encoder is TINY else 256, **further)
    content = {"state_dict": {key: torch.tensor(value) for key, value in fill_state_dict(params["layout"]).items()}}
    load_state(network, convert_checkpoint(content, RELEASED), where="reference vectors")
    return network.eval()


@torch.no_grad()
def network_forward(inputs: Arrays, params: dict) -> Arrays:
    network, image, scale = released_network(params), torch.tensor(inputs["image"]), params.get("output_scale", 1.0)
    logits = network(image).logits
    step, channels = params["upsampled_step"], params.get("feature_channel_step", 1)
    enlarged = nn.functional.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=network.align_corners)
    outputs = {"logits": logits, "logits_up": enlarged[..., ::step, ::step]}
    if levels := params.get("feature_levels"):
        stages = network.backbone(image) if network.feature_channels == 512 else network.backbone.stages(image)
        outputs |= {f"feature{level}": stages[level - 1][:, ::channels] for level in levels}
    return {name: (value * scale).numpy() for name, value in outputs.items()}


def crop_boxes(inputs: Arrays, params: dict) -> Arrays:
    draw = np.random.RandomState(params["seed"]).randint
    size, crop = (params["height"], params["width"]), tuple(params["crop"])
    return {"boxes": np.array([crop_box(size, crop, draw, params["divisible"]) for _ in range(params["draws"])])}


def fused(inputs: Arrays, params: dict) -> Arrays:
    names = ("context_logits", "detail_logits", "attention_logits")
    context, detail, attention = (leaf(inputs[name]) for name in names)
    box = None if params["box"] is None else tuple(params["box"])
    result, weighted = fuse(context, detail, attention, box)
    (result * torch.tensor(inputs["upstream"])).sum().backward()
    gradients = {f"grad_{name}": x.grad.numpy() for name, x in zip(names, (context, detail, attention), strict=True)}
    return {"fused": result.detach().numpy(), "context_weighted": weighted.detach().numpy(), **gradients}


def windows(inputs: Arrays, params: dict) -> Arrays:
    crop = tuple(params["crop"])
    stride = None if params["overlapping"] else crop
    return {"boxes": np.array(slide_boxes((params["height"], params["width"]), crop, stride))}


def merged(inputs: Arrays, params: dict) -> Arrays:
    parts = torch.tensor(inputs["crop_logits"]).split(params["batch"])
    return {"logits": merge_windows(parts, [tuple(box) for box in params["boxes"]]).numpy()}


def losses(inputs: Arrays, params: dict) -> Arrays:
    logits, detail = leaf(inputs["fused_logits"]), leaf(inputs["detail_logits"])
    weight = torch.tensor(inputs["weight"]) if "weight" in inputs else None
    label, box = torch.tensor(inputs["label"]), tuple(params["box"])
    terms = detail_losses(logits, detail, box, label, weight, params["hr_loss_weight"])
    sum(terms).backward()
    found = {name: term.detach().numpy() for name, term in zip(("loss", "loss_detail"), terms, strict=True)}
    return {**found, "grad_fused_logits": logits.grad.numpy(), "grad_detail_logits": detail.grad.numpy()}


def slid(inputs: Arrays, params: dict) -> Arrays:
    """Logits of windows, in the order in which they are asked for, three at a time."""
    parts = iter(torch.tensor(inputs["window_logits"]))
    image = torch.zeros(1, 3, *params["size"])

    def run(views: Tensor) -> Tensor:
        return torch.stack([next(parts) for _ in views])

    window, stride = tuple(params["window"]), tuple(params["stride"])
    logits = slide(run, image, window, stride, align_corners=False, batch=3)
    assert next(parts, None) is None
    return {"logits": logits.numpy(), **at_the_label(logits, params)}


def whole(inputs: Arrays, params: dict) -> Arrays:
    """The presets' way: one window of the image's size, to which logits are enlarged before they are to the label's."""
    size = tuple(params["size"])
    logits = slide(lambda view: torch.tensor(inputs["logits"]), torch.zeros(1, 3, *size), size, size, align_corners=False)
    return at_the_label(logits, params)


def at_the_label(logits: Tensor, params: dict) -> Arrays:
    enlarged = upsample(logits, tuple(params["original"]), False)
    return {"logits_original": enlarged.numpy(), "prediction": enlarged.argmax(1).numpy()}


def parameter_groups(inputs: Arrays, params: dict) -> Arrays:
    """The optimiser as the presets set it."""
    network = released_network(params)
    part = PartConfig(
        optimizer="AdamW", lr=params["lr"], options={"weight_decay": 0.01}, groups={r"^classifier\.": 10.0}, no_decay=(r"^backbone\..*norm",)
    )
    optimizer = make_optimizers(network, RoundConfig(steps=1, parts={"segmenter": part}))["segmenter"]
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    named = dict(network.named_parameters())
    places = {key: torch.tensor(place) for place, (key, *_) in enumerate(params["layout"])}
    ours = convert_checkpoint({"state_dict": places}, RELEASED)
    rows = [groups[id(named[name])] for name in sorted(ours, key=ours.get) if name in named]
    return {"lr": np.array([row["lr"] for row in rows]), "weight_decay": np.array([row["weight_decay"] for row in rows])}


def learning_rate(inputs: Arrays, params: dict) -> Arrays:
    schedule = ScheduleConfig(
        name="poly", power=params["power"], horizon=params["max_iters"], warmup=params["warmup_iters"], warmup_from=params["warmup_ratio"]
    )
    still = attrs.evolve(schedule, name="constant")  # the lowest rate, which the presets do not have, is warmed up too
    factors, floor = (np.array([rate(form, int(step), params["max_iters"]) for step in inputs["step"]]) for form in (schedule, still))
    bases = {"lr": params["base_lr"], "lr_head": params["base_lr"] * params["head_factor"]}
    return {name: (base - params["min_lr"]) * factors + params["min_lr"] * floor for name, base in bases.items()}


OPS: dict[str, Operation] = {
    "mic.patch_embed": patch_embed,
    "mic.mit_block": mit_block,
    "mic.drop_path_rates": rates,
    "mic.mit_forward": mit_forward,
    "mic.daformer_head": daformer_head,
    "mic.network_forward": network_forward,
    "mic.hrda_crop_boxes": crop_boxes,
    "mic.hrda_fuse": fused,
    "mic.hrda_slide_boxes": windows,
    "mic.hrda_slide_merge": merged,
    "mic.hrda_loss": losses,
    "mic.slide_inference": slid,
    "mic.whole_inference": whole,
    "mic.parameter_groups": parameter_groups,
    "mic.learning_rate": learning_rate,
}
