"""Files as the authors' program saves them: their keys, and the classes in their order."""

from __future__ import annotations

import torch
from udacore_clp.checkpoints import CLASSES

from udacore.labels import CLASSES16, CLASSES19

OURS = {19: CLASSES19, 16: CLASSES16}


def in_their_order(value, axis=0):
    ours = OURS[value.shape[axis]]
    return value.index_select(axis, torch.tensor([ours.index(name) for name in CLASSES[: len(ours)]]))


def their_state(model):
    """The network's entries as the authors name and order them."""
    state = {}
    for key, value in model.state_dict().items():
        child, _, rest = key.partition(".")
        if child == "backbone":
            state[key] = value
        elif child == "classifier":
            _, number, last = rest.split(".")
            state[f"classifier.0.convs.{number}.0.{last}"] = in_their_order(value)
    return state


def weights_file(model):
    return {"weights": their_state(model)}


def resume_file(model):
    content = {"epochs": 4, "iters": 1859, "model_state_dict": their_state(model), "optimizer_state_dict": {"state": {}, "param_groups": []}}
    if hasattr(model, "discriminator"):
        state = dict(model.discriminator.state_dict())
        state["conv1.weight"] = in_their_order(state["conv1.weight"], axis=1)
        content |= {"model_state_dict_D": state, "optimizer_state_dict_D": {}}
    return content
