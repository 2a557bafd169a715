from __future__ import annotations

import attrs
import pytest
import torch
import udacore_proca as proca
from udacore_proca import Settings
from udacore_proca.checkpoints import FEATURE_FILE, OUTPUT_FILE
from udacore_proca.prototypes import Prototypes

from udacore.config.schema import ModelConfig
from udacore.interface import IGNORE, PassBatch, RoundInfo, SourceBatch, Step, TargetBatch
from udacore.losses import segmentation_loss

CLASSES = ("road", "sky", "car", "tree")
SMALL = ModelConfig(name="small", batch_norm="eval")
INFO = RoundInfo(name="any", index=0, steps=10, trains=("segmenter",), classes=CLASSES)
ADAPT = Settings(contrast=True)


def build(settings, seed=0):
    torch.manual_seed(seed)
    return proca.build_model(settings=settings, architecture=SMALL, round=INFO)


def a_step(model, settings, *, source=True, target=True, pseudo_label=None):
    generator = torch.Generator().manual_seed(7)
    image = torch.randn(2, 2, 3, 17, 25, generator=generator)
    label = torch.randint(0, len(CLASSES), (2, 17, 25), generator=generator)
    common = {"name": ("a", "b"), "valid": torch.ones(2, 17, 25, dtype=torch.bool)}
    return Step(
        settings=settings,
        round=INFO,
        index=0,
        micro=0,
        model=model,
        source=SourceBatch(image=image[0], label=label, **common) if source else None,
        target=TargetBatch(image=image[1], pseudo_label=pseudo_label, **common) if target else None,
        generator=generator,
        record=lambda name, value: None,
    )


def test_what_is_remembered_lies_in_buffers_of_one_child():
    model = build(Settings())
    names = {name for name in model.state_dict() if name.startswith("prototypes.")}
    assert names == {f"prototypes.{level}.{what}" for level in ("feature", "output") for what in ("mean", "count")}
    assert model.prototypes.feature.mean.shape == (4, model.feature_channels)
    assert model.prototypes.output.mean.shape == (4, 4)
    assert model.prototypes.feature.count.dtype == torch.int64
    assert not [name for name, _ in model.named_parameters() if name.startswith("prototypes")]


def test_a_source_round_trains_on_labels_and_keeps_nothing():
    settings = Settings()
    step = a_step(build(settings), settings, target=False)
    losses = proca.source_loss(step=step)
    assert set(losses) == {"cross_entropy", "lovasz"}
    assert step.kept == {}
    assert proca.target_loss(step=step) == {}


def test_an_adapting_round_contrasts_both_domains():
    step = a_step(build(ADAPT), ADAPT)
    supervised = proca.source_loss(step=step)
    contrast = proca.target_loss(step=step)
    assert set(contrast) == {"feature_contrast", "output_contrast"}
    assert step.model.prototypes.feature.count.sum() > 0
    sum([*supervised.values(), *contrast.values()]).backward()
    assert all(parameter.grad is not None for parameter in step.model.parameters())


def test_a_distilling_round_learns_from_pseudo_labels_alone():
    label = torch.randint(0, 4, (2, 17, 25), generator=torch.Generator().manual_seed(1))
    settings = Settings(lovasz_weight=0.75)
    step = a_step(build(settings), settings, source=False, pseudo_label=label)
    assert proca.source_loss(step=step) == {}
    losses = proca.target_loss(step=step)
    assert set(losses) == {"pseudo_label"}
    expected = segmentation_loss(step.model(step.target.image).logits, label, align_corners=True)
    torch.testing.assert_close(losses["pseudo_label"], expected)


def test_contrast_and_pseudo_labels_go_together():
    step = a_step(build(ADAPT), ADAPT, pseudo_label=torch.full((2, 17, 25), IGNORE))
    proca.source_loss(step=step)
    losses = proca.target_loss(step=step)
    assert set(losses) == {"feature_contrast", "output_contrast", "pseudo_label"}
    assert losses["pseudo_label"].item() == 0


def test_a_repeated_step_gives_the_same_losses():
    values = []
    for _ in range(2):
        step = a_step(build(ADAPT), ADAPT)
        proca.source_loss(step=step)
        values.append({name: value.item() for name, value in proca.target_loss(step=step).items()})
    assert values[0] == values[1]


def test_the_memory_bank_comes_with_a_projection_that_is_trained_and_saved():
    settings = Settings(variant="memory_bank", contrast=True, embedding=8, bank_rows=6, anchors_per_class=3)
    step = a_step(build(settings), settings)
    assert any(name.startswith("projection.proj") for name, _ in step.model.named_parameters())
    assert "projection.proj.0.weight" in step.model.state_dict()
    assert step.model.bank.pixel_queue.shape == (4, 6, 8)
    proca.source_loss(step=step)
    losses = proca.target_loss(step=step)
    assert set(losses) == {"source_contrast", "target_contrast"}
    sum(losses.values()).backward()
    assert step.model.projection.proj[3].weight.grad.any()


@attrs.frozen
class End:
    """The end of a round over two images."""

    model: object
    settings: Settings
    folder: object
    image: torch.Tensor
    label: torch.Tensor

    def source(self, *, batch=1):
        yield PassBatch(image=self.image, label=self.label, name=("a", "b"), size=((17, 25),) * 2)


@pytest.fixture
def end(tmp_path):
    settings = Settings(initialise_prototypes=True)
    step = a_step(build(settings), settings)
    return End(step.model.eval(), settings, tmp_path, step.source.image, step.source.label)


@torch.no_grad()
def test_the_source_round_ends_with_prototypes_of_all_its_pixels(end):
    end.model.prototypes.feature.mean.fill_(9.0)
    numbers = proca.on_round_end(round=end)
    expected = Prototypes(4, end.model.feature_channels)
    output = end.model(end.image)
    expected.initialise([(output.features, output.logits, end.label)])
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(end.model.prototypes.state_dict()[name], value)
    assert numbers == {"prototype_pixels": output.features[:, 0].numel()}


@torch.no_grad()
def test_prototypes_are_written_as_the_authors_do_and_read_back(end):
    proca.on_round_end(round=end)
    assert {path.name for path in end.folder.iterdir()} == {FEATURE_FILE, OUTPUT_FILE}
    again = build(Settings(prototype_folder=str(end.folder)), seed=1)
    for name, value in end.model.prototypes.state_dict().items():
        assert torch.equal(again.prototypes.state_dict()[name], value)


@torch.no_grad()
def test_other_rounds_leave_the_prototypes_as_they_are(end):
    assert proca.on_round_end(round=attrs.evolve(end, settings=Settings())) is None
    assert not end.model.prototypes.feature.count.any()


def test_the_published_values_are_the_defaults():
    settings = Settings()
    assert (settings.tau, settings.delta, settings.lovasz_weight) == (50.0, 0.9, 0.75)
    assert (settings.feature_weight, settings.output_weight, settings.multi_level) == (1.0, 1.0, True)
    assert (settings.prototype_update, settings.momentum) == ("running_mean", 0.9)
    assert (settings.percent, settings.cap) == (0.6, 0.9)
    assert (settings.embedding, settings.bank_rows, settings.bank_pixels) == (256, 1000, 10)
