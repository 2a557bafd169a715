"""Mutations of a checkpoint, as rows: what is changed, and words that the message must hold."""

from __future__ import annotations

from typing import Any

import torch
from run_folder import MEAN, WEIGHT, Change, drop, put

FORM: dict[str, tuple[Change, str]] = {
    "weight of a number": (
        put("model", WEIGHT, 3),
        f"model: a state_dict, tensors by name, is asked, {WEIGHT} is no tensor, got 3",
    ),
    "weight of nothing": (put("model", WEIGHT, None), f"{WEIGHT} is no tensor, got None"),
    "weight of lists": (put("model", WEIGHT, [[1.0]]), f"{WEIGHT} is no tensor, got a list"),
    "no format": (drop("format"), "not a checkpoint"),
    "another format": (put("format", 2), "not a checkpoint of this version of udacore"),
    "a true format": (put("format", True), "not a checkpoint of this version of udacore"),
    "no round": (drop("round"), "not a checkpoint"),
    "no step": (drop("step"), "it lacks the entry step"),
    "no written": (drop("written"), "it lacks the entry written"),
    "one more": (put("epoch", 3), "it has the unknown entry 'epoch'"),
    "a number as a key": (put(7, 3), "it has the unknown entry 'int'"),
    "round of a number": (put("round", 3), "round: the name of a round is asked, got 3"),
    "step of text": (put("step", "2"), "step: a number of steps is asked, got '2'"),
    "step of a tensor": (put("step", torch.ones(2)), "step: a number of steps is asked, got a Tensor"),
    "step of a fraction": (put("step", 1.5), "step: a number of steps is asked, got 1.5"),
    "step below 0": (put("step", -1), "step: a number of steps is asked, got -1"),
    "step without an end": (put("step", 2**70), "step: a number of steps is asked, got a int"),
    "model of a list": (put("model", [1]), "model: a state_dict, tensors by name, is asked, got a list"),
    "key of a number": (
        put("model", 5, torch.ones(1)),
        "model: a state_dict, tensors by name, is asked, a key of it is no text",
    ),
    "optimizers of a list": (
        put("optimizers", []),
        "optimizers: the state_dict of each part's optimiser is asked, got a list",
    ),
    "an optimiser without groups": (
        put("optimizers", {"segmenter": {"state": {}}}),
        "'segmenter' has no 'param_groups'",
    ),
    "an optimiser of numbers": (
        put("optimizers", {"segmenter": {"state": {0: 3}, "param_groups": []}}),
        "'segmenter' has no 'state'",
    ),
    "random of a mapping": (
        put("random", {}),
        "random: a list with the random states of each process is asked, got a dict",
    ),
    "random of another kind": (put("random", [{"torch": []}]), "random: "),
    "numbers of a list": (
        put("numbers", [[1]]),
        "numbers: a list with numbers by name for each process is asked",
    ),
    "numbers of text": (put("numbers", [{"loss": ["high"]}]), "numbers: "),
    "scalers of a list": (
        put("scalers", [1]),
        "scalers: scale, since and skipped of each part is asked, got a list",
    ),
    "a scaler of a number": (put("scalers", {"segmenter": 3}), "at 'segmenter' got 3"),
    "a scaler without a count": (
        put("scalers", {"segmenter": {"scale": 2.0, "since": 0}}),
        "scalers: scale, since and skipped of each part is asked, at 'segmenter' got a dict",
    ),
    "a scale of 0": (
        put("scalers", {"segmenter": {"scale": 0.0, "since": 0, "skipped": 0}}),
        "scale of 'segmenter': got 0.0",
    ),
    "a count below 0": (
        put("scalers", {"segmenter": {"scale": 2.0, "since": 0, "skipped": -1}}),
        "skipped of 'segmenter': got -1",
    ),
    "best of text": (put("best", "0.4"), "best: a score or nothing is asked, got '0.4'"),
    "written below 0": (
        put("written", {"log.txt": -3}),
        "written: the length of each file of the run is asked, at 'log.txt' got -3",
    ),
    "written elsewhere": (
        put("written", {"tensorboard/../x": 3}),
        "written: the length of each file of the run is asked, at 'tensorb",
    ),
}
"""Contents that no run writes, refused wherever they are read."""

FIT: dict[str, tuple[Change, str]] = {
    "complex weight": (
        put("model", WEIGHT, lambda value: value + 0j),
        f"{WEIGHT}, complex numbers there and real numbers here",
    ),
    "weight of whole numbers": (
        put("model", WEIGHT, torch.Tensor.int),
        f"{WEIGHT}, whole numbers there and real numbers here",
    ),
    "weight of another shape": (put("model", WEIGHT, torch.ones(3)), f"{WEIGHT}, (3,) there and "),
    "statistics of another shape": (put("model", MEAN, torch.ones(3)), f"{MEAN}, (3,) there and "),
    "a complex buffer": (
        put("model", "bank", torch.ones(2, 3) + 0j),
        "bank, complex numbers there and real numbers here",
    ),
    "a buffer without an end": (
        put("model", "bank", torch.ones(1).expand(10**13)),
        "bank, (10000000000000,) there, of which the file",
    ),
    "no weight": (drop("model", WEIGHT), f"missing there: {WEIGHT}"),
    "one weight more": (
        put("model", "classifier.more", torch.ones(1)),
        "unknown to the model: classifier.more",
    ),
}
"""Contents that do not fit the network."""

RESUMED: dict[str, tuple[Change, str]] = {
    **FIT,
    "no buffer": (drop("model", "bank"), "missing there: bank"),
    "one part more": (put("model", "critic.weight", torch.ones(1)), "unknown to the model: critic.weight"),
    "a step too many": (
        put("step", 4),
        "holds step 4 of round 'more', which is not one of the 3 steps of round 'more'",
    ),
    "two processes": (
        put("random", lambda states: states * 2),
        "random: holds those of 2 processes, now there are 1",
    ),
    "numbers of no process": (put("numbers", []), "numbers: holds those of 0 processes, now there are 1"),
    "no optimiser": (put("optimizers", {}), "optimizers: holds nothing of the part segmenter"),
    "another part": (
        put("optimizers", lambda states: {"segmenter": states["segmenter"], "x": states["segmenter"]}),
        "trains no part 'x'",
    ),
    "a scale where none is": (
        put("scalers", {"segmenter": {"scale": 2.0, "since": 0, "skipped": 0}}),
        "scalers: holds those of segmenter, this round scales the losses of no part",
    ),
    "no group": (
        put("optimizers", "segmenter", "param_groups", []),
        "optimizers: 'segmenter' does not take it (loaded state dict has a different",
    ),
    "a group of fewer": (
        put("optimizers", "segmenter", "param_groups", 0, "params", [0]),
        "optimizers: 'segmenter' does not take it (",
    ),
    "a group without a rate": (
        drop("optimizers", "segmenter", "param_groups", 0, "lr_factor"),
        "group 0 lacks 'lr_factor'",
    ),
    "a rate of text": (
        put("optimizers", "segmenter", "param_groups", 0, "weight_decay", "low"),
        "weight_decay is a str, a float is asked",
    ),
    "momentum of another shape": (
        lambda content: first_state(content).update(
            {"exp_avg": torch.ones(3), "momentum_buffer": torch.ones(3)}
        ),
        "of a parameter of shape (",
    ),
    "momentum of text": (
        lambda content: first_state(content).update(exp_avg="x", momentum_buffer="x"),
        "of a parameter of shape (",
    ),
    "step of an optimiser of text": (
        lambda content: first_state(content).update(step="x"),
        "optimizers: 'segmenter' does not take it (",
    ),
    "torch's state": (
        put("random", 0, "torch", [1, 2]),
        "random: a list with the random states of each process is asked, torch of process 0",
    ),
    "torch's state of text": (
        put("random", 0, "torch", "x"),
        "torch of process 0 does not take its state (a list of bytes is asked)",
    ),
    "a byte of 256": (
        put("random", 0, "torch", 3, 256),
        "torch of process 0 does not take its state (a list of bytes is asked)",
    ),
    "NumPy's position": (put("random", 0, "numpy", 2, 10**6), "numpy of process 0 does not take its state"),
    "NumPy's words": (put("random", 0, "numpy", 1, [1, 2]), "numpy of process 0 does not take its state"),
    "NumPy's kind": (put("random", 0, "numpy", 0, "x"), "numpy of process 0 does not take its state"),
    "Python's words": (put("random", 0, "python", 1, [1, 2]), "python of process 0 does not take its state"),
    "Python's version": (put("random", 0, "python", 0, 9), "python of process 0 does not take its state"),
}
"""Contents that do not fit the round that is under way."""


def first_state(content: Any) -> Any:
    return next(iter(content["optimizers"]["segmenter"]["state"].values()))
