from __future__ import annotations

import math

import torch
from torch import nn
from udacore_proca import Settings
from udacore_proca.adaptation import Pixels, bank_losses, contrast_losses, source_pixels, target_pixels
from udacore_proca.memory_bank import MemoryBank, ProjectionHead
from udacore_proca.prototypes import Prototypes

from udacore.interface import IGNORE

CLASSES, CHANNELS = 4, 6


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, CHANNELS, 3, stride=4, padding=1)
        self.classifier = nn.Conv2d(CHANNELS, CLASSES, 1)

    def forward(self, image):
        features = self.backbone(image)
        return features, 3 * self.classifier(features)


def both_domains(network, images=2):
    generator = torch.Generator().manual_seed(5)
    source = network(torch.randn(images, 3, 17, 21, generator=generator))
    label = torch.randint(0, CLASSES, (images, 17, 21), generator=generator)
    target = network(torch.randn(images, 3, 17, 21, generator=generator))
    return source_pixels(*source, label), target_pixels(*target, 0.9)


def gradients(network, loss):
    names = [name for name, _ in network.named_parameters()]
    found = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    return {name.partition(".")[0] for name, gradient in zip(names, found, strict=True) if gradient is not None and gradient.any()}


def test_feature_contrast_trains_the_backbone_and_output_contrast_the_classifier_too():
    torch.manual_seed(0)
    network, prototypes = Network(), Prototypes(CLASSES, CHANNELS)
    losses = contrast_losses(prototypes, *both_domains(network), Settings(tau=1.0))
    assert gradients(network, losses["feature_contrast"]) == {"backbone"}
    assert gradients(network, losses["output_contrast"]) == {"backbone", "classifier"}


def test_the_contrast_reaches_the_source_through_the_graph_that_was_kept():
    torch.manual_seed(0)
    source, target = both_domains(Network())
    leaves = {"source": source.features.detach().requires_grad_(), "target": target.features.detach().requires_grad_()}
    source = Pixels(features=leaves["source"], logits=source.logits, label=source.label)
    target = Pixels(features=leaves["target"], logits=target.logits, label=target.label)
    contrast_losses(Prototypes(CLASSES, CHANNELS), source, target, Settings())["feature_contrast"].backward()
    assert leaves["source"].grad.any()
    assert leaves["target"].grad.any()


def test_without_levels_only_features_are_contrasted_and_output_prototypes_rest():
    torch.manual_seed(0)
    prototypes = Prototypes(CLASSES, CHANNELS)
    losses = contrast_losses(prototypes, *both_domains(Network()), Settings(multi_level=False))
    assert set(losses) == {"feature_contrast"}
    assert prototypes.feature.count.any()
    assert not prototypes.output.count.any()


def test_the_source_has_the_last_word_under_the_momentum_rule():
    torch.manual_seed(0)
    source, target = both_domains(Network())
    prototypes = Prototypes(CLASSES, CHANNELS)
    contrast_losses(prototypes, source, target, Settings(prototype_update="momentum", momentum=1.0))
    x = source.features.permute(0, 2, 3, 1)[source.label == 1]
    torch.testing.assert_close(prototypes.feature.mean[1], x.mean(0).detach())


def test_the_losses_do_not_depend_on_the_order_of_the_images():
    torch.manual_seed(0)
    source, target = both_domains(Network(), images=3)
    order = torch.tensor([2, 0, 1])

    def shuffled(domain):
        return Pixels(features=domain.features[order], logits=domain.logits[order], label=domain.label[order])

    there = contrast_losses(Prototypes(CLASSES, CHANNELS), source, target, Settings())
    back = contrast_losses(Prototypes(CLASSES, CHANNELS), shuffled(source), shuffled(target), Settings())
    for name, value in there.items():
        torch.testing.assert_close(back[name], value)


def test_no_confident_target_leaves_the_source_alone():
    torch.manual_seed(0)
    source, target = both_domains(Network())
    nothing = Pixels(features=target.features, logits=target.logits, label=torch.full_like(target.label, IGNORE))
    losses = contrast_losses(Prototypes(CLASSES, CHANNELS), source, nothing, Settings())
    assert all(value.isfinite() for value in losses.values())
    assert abs(losses["feature_contrast"].item() - math.log(CLASSES)) < 0.04  # of one domain, not of two


def test_padding_of_the_target_takes_no_part():
    logits = torch.full((1, CLASSES, 2, 3), 5.0)
    valid = torch.ones(1, 8, 12, dtype=torch.bool)
    valid[:, :, 4:8] = False
    assert target_pixels(logits, logits, 0.9, valid).label.tolist() == [[[0, IGNORE, 0]] * 2]


def test_the_bank_contrasts_both_domains_and_trains_its_projection():
    torch.manual_seed(0)
    network, bank, head = Network(), MemoryBank(CLASSES, 30, 8), ProjectionHead(CHANNELS, 8)
    before = bank.state_dict()["pixel_queue"].clone()
    settings = Settings(variant="memory_bank", anchors_per_class=3, bank_pixels=2)
    losses = bank_losses(bank, head, *both_domains(network), settings, torch.Generator().manual_seed(0))
    sum(losses.values()).backward()
    assert set(losses) == {"source_contrast", "target_contrast"}
    assert all(parameter.grad.any() for name, parameter in head.named_parameters() if not name.endswith("0.bias"))
    assert network.backbone.weight.grad.any()
    assert not torch.equal(bank.pixel_queue, before)


def test_the_bank_s_choices_come_from_the_generator_alone():
    torch.manual_seed(0)
    network, head = Network(), ProjectionHead(CHANNELS, 8)
    pairs = both_domains(network)
    settings = Settings(variant="memory_bank", anchors_per_class=3)
    values = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # the global generator moves on
        losses = bank_losses(MemoryBank(CLASSES, 30, 8), head, *pairs, settings, torch.Generator().manual_seed(seed))
        values.append(losses["source_contrast"].item())
    assert values[0] == values[1] != values[2]
