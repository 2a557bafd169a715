"""The operations of the reference vectors that belong to the method, each answered by a public function of the plugin.

`OPS` maps an operation's id to a function (inputs, params) -> outputs; an adapter converts and calls, no more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from udacore_bdl import Settings, make_pseudo_labels
from udacore_bdl.checkpoints import DEEPLAB, FCN8S
from udacore_bdl.discriminators import OutputDiscriminator, PatchDiscriminator
from udacore_bdl.fcn8s import FCN8s, bilinear_kernel
from udacore_bdl.generators import Generator
from udacore_bdl.image_pool import ImagePool
from udacore_bdl.losses import SOURCE, TARGET, cycle_loss, domain_loss, least_squares_loss, perceptual_loss, to_segmenter
from udacore_bdl.optimizers import RepeatedSGD
from udacore_bdl.segmenters import build_deeplab
from udacore_bdl.settings import CAFFE_PIXELS
from udacore_bdl.translation import to_picture, translated_size

from udacore.config.schema import PseudoLabelConfig
from udacore.interface import Output, PassBatch, RoundInfo
from udacore.losses import cross_entropy, upsample
from udacore.models.layouts import convert_checkpoint
from udacore.models.weights import load_state
from udacore.testing.golden import Arrays, Operation, fill_state_dict

sys.path.append(str(Path(__file__).resolve().parent))
from golden_bdl_core_ops import CORE_OPS
from golden_bdl_step_ops import STEP_OPS, filled


def leaf(array: np.ndarray) -> Tensor:
    return torch.tensor(array, requires_grad=True)


def with_gradient(loss: Tensor, x: Tensor, name: str) -> Arrays:
    loss.backward()
    return {"loss": loss.detach().numpy(), name: x.grad.numpy()}


def segmentation(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["logits"])
    return with_gradient(cross_entropy(logits, torch.tensor(inputs["labels"])), logits, "grad_logits")


def domain_bce(inputs: Arrays, params: dict) -> Arrays:
    score = leaf(inputs["logits"])
    return with_gradient(domain_loss(score, params["domain_label"]), score, "grad_logits")


def adversarial_objective(inputs: Arrays, params: dict) -> Arrays:
    # In float64: the sums of the weights' gradient cancel, and some processors' float32 kernels lose a digit too many.
    inputs = {name: array.astype(np.float64) for name, array in inputs.items()}
    discriminator = filled(OutputDiscriminator(inputs["source_logits"].shape[1])).double()
    logits = leaf(inputs["target_logits"])
    score = discriminator(logits.softmax(1))
    generator = domain_loss(score, SOURCE)
    halves = [0.5 * domain_loss(discriminator(torch.tensor(inputs["source_logits"]).softmax(1)), SOURCE), 0.5 * domain_loss(score, TARGET)]
    own = list(discriminator.parameters())
    gradients = dict(zip([name for name, _ in discriminator.named_parameters()], torch.autograd.grad(sum(halves), own, retain_graph=True), strict=True))
    outputs = {
        "loss_generator": generator,
        "loss_generator_weighted": params["lambda_adv"] * generator,
        "grad_target_logits": torch.autograd.grad(generator, logits)[0],
        "loss_discriminator_source": halves[0],
        "loss_discriminator_target": halves[1],
        "grad_conv1_bias": gradients["conv1.bias"],
        "grad_conv4_bias": gradients["conv4.bias"],
        "grad_classifier_weight": gradients["classifier.weight"],
    }
    return {name: value.detach().numpy() for name, value in outputs.items()}


def sgd_repeated(inputs: Arrays, params: dict) -> Arrays:
    parameter = torch.nn.Parameter(torch.tensor(inputs["param"]))
    optimizer = RepeatedSGD([{"params": [parameter], "repeats": params["repeats"]}], 0.0, params["momentum"], params["weight_decay"])
    rows = []
    for gradient, rate in zip(inputs["grads"], inputs["lrs"], strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        rows.append(parameter.detach().numpy().copy())
    return {"params": np.stack(rows)}


class RecordedRound:
    """A round's end whose network answers with recorded logits: image i is a plane of the number i."""

    def __init__(self, logits: Tensor, params: dict, cap: float) -> None:
        self.settings = Settings(fraction=params["fraction"], cap=cap)
        self.pseudo_labels = PseudoLabelConfig()
        self.device = logits.device
        self.round = RoundInfo(name="adapt-1", index=1, steps=1, trains=(), classes=tuple(map(str, range(logits.shape[1]))))
        self.model = lambda image: Output(logits=logits[image[:, 0, 0, 0].long()], features=image)
        self.model.align_corners = True
        self.numbers: dict[str, float] = {}
        self.record = self.numbers.__setitem__
        self.count, self.size = len(logits), (params["height"], params["width"])

    def target(self, *, size=None, batch=1):
        for number in range(self.count):
            yield PassBatch(image=torch.full((1, 3, *self.size), float(number)), label=None, name=(str(number),), size=((9, 9),))

    def thresholds(self) -> np.ndarray:
        return np.array([self.numbers[f"threshold/{name}"] for name in self.round.classes])


def pseudo_labels(inputs: Arrays, params: dict) -> Arrays:
    raw, capped = (RecordedRound(torch.tensor(inputs["logits"]), params, cap) for cap in (1.0, params["cap"]))
    list(make_pseudo_labels(raw))
    labels = np.stack([label for _, label in make_pseudo_labels(capped)])
    return {"raw_thresholds": raw.thresholds(), "thresholds": capped.thresholds(), "labels": labels}


def network_forward(build, layout=None, prefix: str = "") -> Operation:
    """The network of `build`, loaded from a file of the authors' layout."""

    def run(inputs: Arrays, params: dict) -> Arrays:
        network = build().eval()
        state = {key: torch.tensor(value) for key, value in fill_state_dict(params["layout"]).items()}
        if layout is None:
            network.load_state_dict(state)
        else:
            load_state(network, convert_checkpoint(state, layout), where="reference vectors")
        image = torch.tensor(inputs["x"])
        with torch.no_grad():
            y = network(image)
        if layout is not None:
            y = upsample(y.logits, image.shape[-2:], True) if "upsample" in params.get("output", "") else y.logits
        return {"y": y.numpy()}

    return run


def kernel(inputs: Arrays, params: dict) -> Arrays:
    return {"weight": bilinear_kernel(params["channels"], params["kernel_size"]).numpy()}


def lsgan(inputs: Arrays, params: dict) -> Arrays:
    score = leaf(inputs["prediction"])
    return with_gradient(least_squares_loss(score, params["target_is_real"]), score, "grad")


def l1(inputs: Arrays, params: dict) -> Arrays:
    output = leaf(inputs["output"])
    return with_gradient(params["weight"] * cycle_loss(output, torch.tensor(inputs["reference"])), output, "grad")


def preprocess(inputs: Arrays, params: dict) -> Arrays:
    return {"image": to_segmenter(torch.tensor(inputs["image"]), CAFFE_PIXELS).numpy()}


def perceptual(inputs: Arrays, params: dict) -> Arrays:
    logits = leaf(inputs["logits"])
    return with_gradient(params["weight"] * perceptual_loss(logits, torch.tensor(inputs["reference"])), logits, "grad")


def image_pool(inputs: Arrays, params: dict) -> Arrays:
    uniforms, slots = iter(inputs["uniforms"]), iter(inputs["indices"])
    pool = ImagePool(params["pool_size"])
    draws = (lambda: float(next(uniforms)), lambda count: int(next(slots)))
    returned = [pool.query(torch.tensor(batch), draws).numpy().copy() for batch in inputs["queries"]]
    assert len(list(uniforms)) == len(inputs["uniforms"]) - params["uniforms_used"]
    return {"returned": np.stack(returned)}


def resized_shape(inputs: Arrays, params: dict) -> Arrays:
    return {"shapes": np.array([translated_size(*map(int, row)) for row in inputs["shapes"]])}


def to_image(inputs: Arrays, params: dict) -> Arrays:
    return {"image": to_picture(torch.tensor(inputs["image"]))}


OPS: dict[str, Operation] = {
    **CORE_OPS,
    **STEP_OPS,
    "bdl.segmentation_cross_entropy": segmentation,
    "bdl.domain_bce": domain_bce,
    "bdl.adversarial_objective": adversarial_objective,
    "bdl.sgd_repeated": sgd_repeated,
    "bdl.pseudo_labels": pseudo_labels,
    "bdl.network_forward.deeplab": network_forward(lambda: build_deeplab(19, "live", None), DEEPLAB),
    "bdl.network_forward.perceptual_deeplab": network_forward(lambda: build_deeplab(19, "live", 2), DEEPLAB),
    "bdl.network_forward.fcn8s": network_forward(lambda: FCN8s(19), FCN8S),
    "bdl.network_forward.output_discriminator": network_forward(lambda: OutputDiscriminator(19)),
    "bdl.network_forward.generator": network_forward(Generator),
    "bdl.network_forward.patch_discriminator": network_forward(PatchDiscriminator),
    "bdl.bilinear_kernel": kernel,
    "bdl.translation.lsgan": lsgan,
    "bdl.translation.l1": l1,
    "bdl.translation.perceptual_preprocess": preprocess,
    "bdl.translation.perceptual_loss": perceptual,
    "bdl.translation.image_pool": image_pool,
    "bdl.translation.resized_shape": resized_shape,
    "bdl.translation.to_image": to_image,
}
