from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import udacore_fada as fada
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from udacore_fada import Settings

from udacore.config.schema import ModelConfig, PartConfig, PseudoLabelConfig, RoundConfig
from udacore.inference import predict_label
from udacore.interface import IGNORE, PassBatch, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.losses import segmentation_loss
from udacore.models import DomainBatchNorm2d, use_domain
from udacore.testing.steps import take_steps

CLASSES = ("road", "sky", "car", "tree")
SMALL = ModelConfig(name="small", batch_norm="eval")
ALIGN = Settings(adversarial=True, width=8, adversarial_weight=0.3)
BOTH = ("segmenter", "discriminator")
INFO = RoundInfo(name="any", index=0, steps=10, trains=BOTH, classes=CLASSES)


def build(settings, seed=0, architecture=SMALL):
    torch.manual_seed(seed)
    return fada.build_model(settings=settings, architecture=architecture, round=INFO)


def batches(*, source=True, target=True, pseudo_label=None, seed=7):
    """Images of two sizes."""
    generator = torch.Generator().manual_seed(seed)
    pictures = {domain: torch.randn(2, 3, *size, generator=generator) for domain, size in (("source", (17, 25)), ("target", (21, 18)))}
    label = torch.randint(0, len(CLASSES), (2, 17, 25), generator=generator)
    valid = {domain: torch.ones(2, *image.shape[2:], dtype=torch.bool) for domain, image in pictures.items()}
    return (
        SourceBatch(image=pictures["source"], label=label, name=("a", "b"), valid=valid["source"]) if source else None,
        TargetBatch(image=pictures["target"], name=("c", "d"), valid=valid["target"], pseudo_label=pseudo_label) if target else None,
    )


def a_step(model, settings, **what):
    source, target = batches(**what)
    return Step(
        settings=settings, round=INFO, index=0, micro=0, model=model, source=source, target=target,
        generator=torch.Generator(), record=lambda name, value: None,
    )  # fmt: skip


def train(model, settings, *pairs, control=False, accumulation=1):
    """Take a step of the core with each pair of a source and a target batch."""
    trains = BOTH if settings.adversarial else BOTH[:1]
    parts = {"segmenter": PartConfig(lr=0.1, options={"momentum": 0.9}), "discriminator": PartConfig(optimizer="Adam", lr=0.01, options={"betas": [0.9, 0.99]})}
    config = RoundConfig(steps=10, parts=parts, trains=trains, method=settings, accumulation=accumulation)
    take_steps(fada, config, model, *zip(*pairs, strict=True), round=INFO, control=control)


def test_only_an_aligning_round_has_a_discriminator():
    assert "discriminator" not in dict(build(Settings()).named_children())
    model = build(ALIGN)
    assert model.discriminator(torch.zeros(1, model.feature_channels, 3, 5)).shape == (1, 2 * len(CLASSES), 3, 5)


@pytest.mark.parametrize(("settings", "temperature"), [(Settings(), 1.0), (ALIGN, 1.8)])
def test_the_temperature_reaches_the_cross_entropy_of_aligning_rounds_only(settings, temperature):
    step = a_step(build(settings), settings)
    losses = fada.source_loss(step=step)
    logits = step.model(step.source.image).logits / temperature
    torch.testing.assert_close(losses, {"cross_entropy": segmentation_loss(logits, step.source.label, align_corners=True)})


def test_what_is_kept_for_the_target_holds_no_graph():
    step = a_step(build(ALIGN), ALIGN)
    fada.source_loss(step=step)
    seen = step.kept[fada.KEPT]
    assert not seen.features.requires_grad
    assert not seen.logits.requires_grad
    assert seen.size == (17, 25)


def test_a_source_round_keeps_nothing_and_wants_nothing_of_the_target():
    step = a_step(build(Settings()), Settings())
    fada.source_loss(step=step)
    assert step.kept == {}
    assert fada.target_loss(step=step) == {}


def test_each_loss_reaches_its_own_part():
    step = a_step(build(ALIGN), ALIGN)
    fada.source_loss(step=step)
    losses = fada.target_loss(step=step)
    assert list(losses) == ["discriminator/source", "discriminator/target", "adversarial"]
    named = dict(step.model.named_parameters())
    reached = {}
    for term, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
        reached[term] = {name.partition(".")[0] for name, gradient in zip(named, gradients, strict=True) if gradient is not None and gradient.any()}
    assert reached["discriminator/source"] == {"discriminator"}
    assert reached["adversarial"] == {"backbone", "discriminator"}  # not the classifier: soft labels have no graph


def test_a_distilling_round_learns_from_pseudo_labels_alone():
    label = torch.randint(0, 4, (2, 21, 18), generator=torch.Generator().manual_seed(1))
    step = a_step(build(Settings()), Settings(), source=False, pseudo_label=label)
    assert fada.source_loss(step=step) == {}
    losses = fada.target_loss(step=step)
    torch.testing.assert_close(losses, {"pseudo_label": segmentation_loss(step.model(step.target.image).logits, label, align_corners=True)})


def test_alignment_and_pseudo_labels_go_together():
    step = a_step(build(ALIGN), ALIGN, pseudo_label=torch.full((2, 21, 18), IGNORE))
    fada.source_loss(step=step)
    losses = fada.target_loss(step=step)
    assert set(losses) == {"discriminator/source", "discriminator/target", "adversarial", "pseudo_label"}
    assert losses["pseudo_label"].item() == 0


def test_without_the_source_nothing_is_aligned():
    step = a_step(build(ALIGN), ALIGN, source=False)
    fada.source_loss(step=step)
    assert fada.target_loss(step=step) == {}


def classic_update(model, optimizers, source, target, settings):
    """Spec fada 5.6 in its own order: F and C step first, then the discriminator runs anew
    on the features from before."""

    def enlarge(x, image):
        return nn.functional.interpolate(x, image.shape[2:], mode="bilinear", align_corners=True)

    def loss(answers, encoding):
        return -(encoding * answers.log_softmax(1)).sum(1).mean()

    for optimizer in optimizers.values():
        optimizer.zero_grad()
    soft, features = {}, {}
    seen = model(source.image)
    logits = enlarge(seen.logits, source.image) / settings.temperature
    nn.functional.cross_entropy(logits, source.label, ignore_index=IGNORE).backward()
    soft["source"], features["source"] = logits.detach().softmax(1).clamp(max=settings.clip), seen.features.detach()
    seen = model(target.image)
    logits = enlarge(seen.logits, target.image) / settings.temperature
    soft["target"], features["target"] = logits.detach().softmax(1).clamp(max=settings.clip), seen.features.detach()
    nothing = torch.zeros_like(soft["target"])
    answers = enlarge(model.discriminator(seen.features), target.image)
    (settings.adversarial_weight * loss(answers, torch.cat([soft["target"], nothing], 1))).backward()
    optimizers["segmenter"].step()
    optimizers["discriminator"].zero_grad()
    for domain, image, order in (("source", source.image, (0, 1)), ("target", target.image, (1, 0))):
        halves = (soft[domain], torch.zeros_like(soft[domain]))
        answers = enlarge(model.discriminator(features[domain]), image)
        (settings.discriminator_weight * loss(answers, torch.cat([halves[place] for place in order], 1))).backward()
    optimizers["discriminator"].step()


def test_three_updates_equal_those_in_the_classic_order():
    ours, theirs = build(ALIGN), build(ALIGN)
    groups = {"discriminator": list(theirs.discriminator.parameters()), "segmenter": [*theirs.backbone.parameters(), *theirs.classifier.parameters()]}
    optimizers = {
        "segmenter": torch.optim.SGD(groups["segmenter"], lr=0.1, momentum=0.9),
        "discriminator": torch.optim.Adam(groups["discriminator"], lr=0.01, betas=(0.9, 0.99)),
    }
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    pairs = [batches(seed=index) for index in range(3)]
    train(ours, ALIGN, *pairs)
    for source, target in pairs:
        classic_update(theirs, optimizers, source, target, ALIGN)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    assert not torch.equal(before["discriminator.source.weight"], ours.state_dict()["discriminator.source.weight"])


def test_one_micro_batch_of_two_counts_half():
    ours, theirs = build(ALIGN), build(ALIGN)
    source, target = batches()
    train(ours, ALIGN, (source, target))
    train(theirs, ALIGN, ([source, source], [target, target]), accumulation=2)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-4, atol=1e-5)


class Convolutions(TorchDispatchMode):
    """Notes for each backward of a convolution the shape of its weight and which gradients were
    computed: input, weight, bias."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append((tuple(args[2].shape), tuple(args[10])))
        return func(*args, **(kwargs or {}))


def test_the_adversarial_pass_computes_no_gradient_of_the_discriminators_weights():
    model = build(ALIGN)
    shapes = {tuple(parameter.shape) for parameter in model.discriminator.parameters() if parameter.dim() == 4}
    with Convolutions() as convolutions:
        train(model, ALIGN, batches())
    masks = [mask for shape, mask in convolutions.seen if shape in shapes]
    to_weights = [mask for mask in masks if mask[1]]
    assert len(to_weights) == 2 * 4  # four convolutions, once for each domain
    assert len(masks) - len(to_weights) == 4  # and once to the features, which the adversarial loss alone asks for
    assert all(mask == (True, False, False) for mask in masks if not mask[1])
    assert sum(not mask[0] for mask in to_weights) == 2  # the players' graphs end at the features


def test_the_discriminator_sees_each_domain_once():
    model, calls = build(ALIGN), []
    model.discriminator.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    train(model, ALIGN, batches())
    assert len(calls) == 2


def test_the_control_learns_as_if_there_were_no_target():
    ours, theirs = build(ALIGN), build(ALIGN)
    theirs.discriminator = None
    source, target = batches()
    train(ours, ALIGN, (source, target), control=True)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    segmentation_loss(theirs(source.image).logits / 1.8, source.label, align_corners=True).backward()
    optimizer.step()
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_pseudo_labels_are_the_most_probable_class_of_every_pixel_at_the_images_size():
    model = build(Settings()).eval()
    image = batches()[1].image
    sizes = ((42, 36), (50, 60))
    batch = PassBatch(image=image, label=None, name=("c", "d"), size=sizes)
    end = SimpleNamespace(model=model, pseudo_labels=PseudoLabelConfig(), target=lambda size: [batch])
    with torch.no_grad():
        made = dict(fada.make_pseudo_labels(round=end))
        logits = model(image).logits
    for place, (name, size) in enumerate(zip(("c", "d"), sizes, strict=True)):
        enlarged = nn.functional.interpolate(logits[place : place + 1], size, mode="bilinear", align_corners=True)
        assert made[name].dtype == np.uint8
        assert made[name].shape == size
        assert np.mean(made[name] == enlarged.argmax(1)[0].numpy()) > 0.999


def test_pseudo_labels_are_made_by_the_targets_layers_of_domain_specific_batch_norm():
    model = build(Settings(), architecture=ModelConfig(name="small", batch_norm="domain")).eval()
    for module in model.modules():
        if isinstance(module, DomainBatchNorm2d):
            module.norm_layers[0].weight.data.fill_(float("nan"))
    batch = PassBatch(image=batches()[1].image, label=None, name=("c", "d"), size=((21, 18), (21, 18)))
    end = SimpleNamespace(model=model, pseudo_labels=PseudoLabelConfig(), target=lambda size: [batch])
    with torch.no_grad():
        made = dict(fada.make_pseudo_labels(round=end))
        with use_domain(model, "target"):
            expected = predict_label(model, batch.image, (21, 18))
    assert all(np.array_equal(made[name], label) for name, label in zip(batch.name, expected.numpy(), strict=True))
    assert len(np.unique(made["c"])) > 1


def test_the_published_values_are_the_defaults():
    settings = Settings()
    assert (settings.temperature, settings.clip, settings.width) == (1.8, 0.9, 256)
    assert (settings.adversarial_weight, settings.discriminator_weight) == (0.001, 0.5)
    assert not settings.adversarial
