"""Files as the authors' program saves them."""

from __future__ import annotations

NAMES = {"trunk.": "D.", "source.": "cls1.", "target.": "cls2."}


def released(model, prefix="module.", discriminator=True):
    """A checkpoint as the authors save it."""
    content = {"iteration": 40000, "feature_extractor": {}, "classifier": {}, "optimizer_fea": {}, "optimizer_cls": {}}
    if discriminator:
        content |= {"model_D": {}, "optimizer_D": {}}
    for key, value in model.state_dict().items():
        child, _, rest = key.partition(".")
        if child == "backbone":
            content["feature_extractor"][prefix + key] = value
        elif child == "classifier":
            content["classifier"][prefix + rest] = value
        elif discriminator:
            old = next(name for name in NAMES if rest.startswith(name))
            content["model_D"][prefix + NAMES[old] + rest.removeprefix(old)] = value
    return content
