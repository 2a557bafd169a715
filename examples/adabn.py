"""AdaBN: nothing is trained; batch-norm statistics are taken anew from the target's images.

Yanghao Li et al., Revisiting Batch Normalization for Practical Domain Adaptation
(2016). A method in one file:

    uda run --plugin examples/adabn.py streets rounds.source.steps=0
    rounds.source.weights=runs/.../0-source.pt
"""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm

from udacore import hookimpl
from udacore.interface import RoundEnd


@hookimpl
def on_round_end(round: RoundEnd) -> None:
    """One pass over the target with cumulative statistics."""
    layers = [layer for layer in round.model.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    for batch in round.target(batch=20):
        for layer in layers:
            layer.train()
        round.model(batch.image)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
