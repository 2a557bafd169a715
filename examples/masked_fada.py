"""FADA with MIC's masked consistency: what a teacher says of a target image is learnt from a part of it.

    uda run --plugin examples/masked_fada.py fada/streets method.mask_block=16
"""

import attrs
import udacore_fada
from udacore_fada import make_pseudo_labels, source_loss  # noqa: F401
from udacore_mic.draws import draw_noise, image_generators
from udacore_mic.losses import segmentation_loss
from udacore_mic.masking import grid_size, hide
from udacore_mic.pseudo_labels import label_pixels

from udacore import hookimpl, option
from udacore.losses import upsample
from udacore.models import Teacher


@attrs.frozen(kw_only=True)
class Settings(udacore_fada.Settings):
    """FADA's, and the size of what is hidden."""
    mask_block: int = option(64, "side of a hidden block, in pixels of the input", at_least=1)

@hookimpl
def build_model(settings, architecture, round):
    model = udacore_fada.build_model(settings=settings, architecture=architecture, round=round)
    model.teacher = Teacher(model, 0.99, shared=("discriminator",) if settings.adversarial else ())
    return model

@hookimpl
def target_loss(step):
    yield udacore_fada.target_loss(step)
    if step.settings.adversarial:
        model, image, size = step.model, step.target.image, tuple(step.target.image.shape[2:])
        if step.micro == 0:
            model.teacher.update(model)
        pseudo = label_pixels(upsample(model.teacher(image).logits, size, model.align_corners), 0.9, valid=step.target.valid)
        noise = draw_noise(image_generators(step.generator, step.target.name), grid_size(size, step.settings.mask_block)).to(image.device)
        logits = model(hide(image, noise, 0.7), domain="target").logits
        yield {"masked": segmentation_loss(logits, pseudo.label, pseudo.weight, model.align_corners)}
