"""Released checkpoints (algorithms/bdl 15): plain state_dicts, with or without `module.` before all keys."""

from __future__ import annotations

from udacore.models.layouts import Layout

DEEPLAB = Layout(
    name="bdl-deeplab",
    parts={"": {r"(?=(conv1|bn1|layer[1-4])\.)": "backbone.", r"layer5\.": "classifier."}},
)
"""DeepLab of both sources, of the steps of self-training, and the perceptual network. How many branches of
the head count is told from its weights on loading (`segmenters.count_branches`)."""

FCN8S = Layout(
    name="bdl-fcn8s",
    parts={"": {r"(?=(conv\d_\d|fc[67])\.)": "backbone.", r"(?=(score|upscore)\w*\.)": "classifier."}},
)
"""FCN-8s on VGG-16 of both sources, final and initial ones."""

LAYOUTS = (DEEPLAB, FCN8S)
