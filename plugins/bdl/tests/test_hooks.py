from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
import udacore_bdl as bdl
from udacore_bdl import Settings

from udacore import ConfigError
from udacore.config.schema import ModelConfig, PixelConfig, PseudoLabelConfig
from udacore.interface import Output, PassBatch, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.losses import segmentation_loss

CLASSES = ("road", "sky", "car", "tree")
SMALL = ModelConfig(name="small", batch_norm="eval")
INFO = RoundInfo(name="any", index=0, steps=10, trains=("segmenter",), classes=CLASSES)
ADAPT = Settings(lambda_adv=0.1, discriminator_width=2)
TRANSLATE = Settings(translate=True, ngf=2, ndf=2, blocks=1, pool_size=2, perceptual_pixels=PixelConfig())


def build(settings, seed=0):
    torch.manual_seed(seed)
    return bdl.build_model(settings=settings, architecture=SMALL, round=INFO)


def a_step(model, settings, *, source=True, target=True, pseudo_label=None, info=INFO):
    generator = torch.Generator().manual_seed(7)
    image = torch.rand(2, 2, 3, 32, 40, generator=generator) * 2 - 1
    label = torch.randint(0, len(CLASSES), (2, 32, 40), generator=generator)
    common = {"name": ("a", "b"), "valid": torch.ones(2, 32, 40, dtype=torch.bool)}
    numbers = {}
    step = Step(
        settings=settings, round=info, index=0, micro=0, model=model,
        source=SourceBatch(image=image[0], label=label, **common) if source else None,
        target=TargetBatch(image=image[1], pseudo_label=pseudo_label, **common) if target else None,
        generator=generator, record=numbers.__setitem__,
    )  # fmt: skip
    return step, numbers


def children(model):
    return {name for name, _ in model.named_children()}


def test_a_round_has_the_parts_that_it_needs_and_no_others():
    assert children(build(Settings())) == {"backbone", "classifier"}
    assert children(build(ADAPT)) == {"backbone", "classifier", "discriminator"}
    assert children(build(TRANSLATE)) == {"backbone", "classifier", "translators", "critics", "pools"}


def test_a_source_round_is_cross_entropy_alone():
    step, _ = a_step(build(Settings()), Settings(), target=False)
    losses = bdl.source_loss(step=step)
    expected = segmentation_loss(step.model(step.source.image).logits, step.source.label, align_corners=True)
    assert set(losses) == {"cross_entropy"}
    torch.testing.assert_close(losses["cross_entropy"], expected)
    assert bdl.target_loss(step=step) == {}


def test_adaptation_has_one_discriminator_forward_for_both_sides_of_the_target():
    step, numbers = a_step(build(ADAPT), ADAPT)
    calls = []
    step.model.discriminator.register_forward_hook(lambda *_: calls.append(1))
    bdl.source_loss(step=step)
    assert not step.kept["probability"].requires_grad
    losses = bdl.target_loss(step=step)
    assert set(losses) == {"adversarial", "discriminator/source", "discriminator/target"}
    assert len(calls) == 2
    torch.testing.assert_close(losses["adversarial"], 0.1 * numbers["unweighted_adversarial"])


def test_the_adversarial_loss_takes_no_weight_gradient_of_the_discriminator():
    step, _ = a_step(build(ADAPT), ADAPT)
    bdl.source_loss(step=step)
    losses = bdl.target_loss(step=step)
    segmenter = [p for name, p in step.model.named_parameters() if not name.startswith("discriminator")]
    torch.autograd.backward(losses["adversarial"], inputs=segmenter, retain_graph=True)
    assert all(parameter.grad is None for parameter in step.model.discriminator.parameters())
    assert any(parameter.grad.any() for parameter in segmenter)


def test_pseudo_labels_add_a_cross_entropy_and_nothing_valid_is_a_zero():
    label = torch.full((2, 32, 40), 255)
    settings = attrs.evolve(ADAPT, lambda_pseudo=3.0)
    step, _ = a_step(build(settings), settings, pseudo_label=label)
    bdl.source_loss(step=step)
    assert bdl.target_loss(step=step)["pseudo_label"].item() == 0
    step, _ = a_step(build(settings), settings, pseudo_label=torch.zeros_like(label))
    bdl.source_loss(step=step)
    expected = 3 * segmentation_loss(step.model(step.target.image).logits, torch.zeros_like(label), align_corners=True)
    torch.testing.assert_close(bdl.target_loss(step=step)["pseudo_label"], expected)


def translation_losses(settings):
    step, _ = a_step(build(settings).eval(), settings)
    return {**bdl.source_loss(step=step), **bdl.target_loss(step=step)}, step


@pytest.mark.parametrize("batches", ["joined", "single"])
def test_the_segmenter_sees_real_images_once_and_without_gradient(batches):
    settings = attrs.evolve(TRANSLATE, perceptual_batches=batches)
    step, _ = a_step(build(settings).eval(), settings)
    seen = []
    step.model.backbone.register_forward_hook(lambda module, inputs, output: seen.append((len(inputs[0]), torch.is_grad_enabled())))
    bdl.source_loss(step=step)
    bdl.target_loss(step=step)
    assert seen == ([(4, False), (4, True), (4, True)] if batches == "joined" else [(2, False)] * 2 + [(2, True)] * 4)


def test_joined_and_single_forwards_give_the_same_losses():
    one, _ = translation_losses(TRANSLATE)
    two, _ = translation_losses(attrs.evolve(TRANSLATE, perceptual_batches="single"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-6)


def test_terms_of_weight_zero_are_not_computed():
    settings = attrs.evolve(TRANSLATE, lambda_identity=0.0, lambda_semantic=0.0, lambda_translated=0.0)
    step, _ = a_step(build(settings).eval(), settings)
    step.model.backbone.register_forward_hook(lambda *_: pytest.fail("the segmenter was run"))
    losses = {**bdl.source_loss(step=step), **bdl.target_loss(step=step)}
    assert set(losses) == {f"translators/{kind}_{side}" for kind in ("gan", "cycle") for side in "AB"} | {"critics/D_A", "critics/D_B"}


def test_translation_needs_both_domains():
    step, _ = a_step(build(TRANSLATE).eval(), TRANSLATE, source=False)
    with pytest.raises(ConfigError, match=r"rounds\.any\.draws: translation needs both domains"):
        bdl.target_loss(step=step)


def test_a_control_trains_no_translators():
    step, _ = a_step(build(TRANSLATE), TRANSLATE, info=attrs.evolve(INFO, control=True))
    assert bdl.source_loss(step=step) == bdl.target_loss(step=step) == {}


class End:
    """A round's end over two target images, whose network never predicts the last two classes."""

    def __init__(self):
        self.settings, self.round, self.device = Settings(), INFO, torch.device("cpu")
        self.pseudo_labels, self.numbers = PseudoLabelConfig(), {}
        self.record = self.numbers.__setitem__
        self.model = lambda image: Output(logits=image[:, :1] * torch.tensor([1.0, -1.0, 0.0, 0.0])[:, None, None], features=image)
        self.model.align_corners = True

    def target(self, *, size=None, batch=1):
        for seed in range(2):
            image = 4 * torch.randn(1, 3, 8, 9, generator=torch.Generator().manual_seed(seed))
            image[image.abs() < 0.5] = 0.5
            yield PassBatch(image=image, label=None, name=(str(seed),), size=((50, 60),))


def test_a_class_that_is_never_predicted_has_the_threshold_zero_and_labels_are_of_the_inputs_size():
    end = End()
    labels = dict(bdl.make_pseudo_labels(round=end))
    assert [end.numbers[f"threshold/{name}"] for name in CLASSES[2:]] == [0, 0]
    assert all(0 < end.numbers[f"threshold/{name}"] <= 0.9 for name in CLASSES[:2])
    assert all(label.shape == (8, 9) for label in labels.values())
    assert {int(each) for label in labels.values() for each in np.unique(label)} <= {0, 1, 255}
