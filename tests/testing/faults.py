"""Methods that break the contract in one way each, and one that keeps it. A file of each is a plugin."""

from __future__ import annotations

import attrs

HEALTHY = '''"""A method with all that the contract looks at: a part, buffers, dropout, passes over the data, pseudo labels of its own."""
import attrs
import torch
import torch.nn.functional as F
from torch import nn
from udacore import MethodSettings, hookimpl, option, ranks
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter
from udacore.pseudo_labels import make_thresholded_labels

@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.1, "weight of the deceit")
    size: tuple[int, int] = option((4, 2), "width and height of something")

@hookimpl
def build_model(architecture, round):
    model = build_segmenter(architecture, len(round.classes))
    model.critic = nn.Conv2d(len(round.classes), 1, 1)
    model.register_buffer("mean", torch.zeros(len(round.classes)))
    model.register_buffer("bank", torch.zeros(0, 3))
    return model

@hookimpl
def source_loss(step):
    logits = step.model(step.source.image).logits
    mean = ranks.all_sum(logits.detach().float().mean((0, 2, 3))) / ranks.size()
    step.model.mean.lerp_(mean, 0.1)
    step.model.bank = torch.cat([step.model.bank, ranks.all_sum(step.source.image.mean((0, 2, 3)))[None]])[-3:]
    noise = torch.rand((), generator=step.generator).to(logits.device)
    return {
        "source": segmentation_loss(F.dropout(logits, 0.1) + 0.01 * noise, step.source.label, step.model.align_corners),
        "critic/source": F.softplus(-step.model.critic(logits.softmax(1))).mean() + 0 * step.model.bank.sum(),
    }

@hookimpl
def target_loss(step):
    logits = step.model(step.target.image).logits
    fake = step.model.critic(logits.softmax(1))
    losses = {
        "deceit": step.settings.weight * F.softplus(-fake).mean() + 1e-3 * (logits.mean((0, 2, 3)) - step.model.mean).square().sum(),
        "critic/target": F.softplus(fake).mean(),
    }
    if step.target.pseudo_label is not None:
        losses["pseudo_label"] = segmentation_loss(logits, step.target.pseudo_label, step.model.align_corners)
    return losses

@hookimpl
def on_round_end(round):
    means = torch.zeros(3)
    for batch in round.source():
        means += batch.image.mean((0, 2, 3)).cpu()
    (round.folder / f"red-{ranks.rank()}.txt").write_text(f"{means[0]:.3f}")
    round.model.mean.add_(ranks.all_sum(means)[0])

@hookimpl
def make_pseudo_labels(round):
    yield from make_thresholded_labels(round, percent=0.3)
'''

CONFIG = """
extends: streets
parts: {critic: {optimizer: SGD, lr: 0.01}}
rounds: {source: {draws: [source, target], batch: 4}}
"""
"""One round that draws both domains: all that a faulty method needs."""
TWO_ROUNDS = CONFIG.replace("batch: 4}", "batch: 4}, adapt: {draws: [source, target], target: {labels: make}, update: joint, accumulation: 2}")

HEAD = """
import os, random
from pathlib import Path
import attrs, numpy as np, torch
import torch.nn.functional as F
from torch import nn
from udacore import MethodSettings, hookimpl, option, source_only
from udacore.losses import segmentation_loss
from udacore.models import build_segmenter

def see(step):
    return step.model(step.target.image).logits

"""


@attrs.frozen
class Fault:
    """A method by what is wrong with it, the check that has to find it, and words of what it has to say."""

    name: str
    check: str
    source: str
    words: str


def target(*lines: str, before: str = "") -> str:
    """A method with these lines as its `target_loss`."""
    return f"{before}\n@hookimpl\ndef target_loss(step):\n" + "".join(f"    {line}\n" for line in lines)


def build(*lines: str, rest: str = "") -> str:
    """A method whose model is the core's with these lines after it."""
    head = "@hookimpl\ndef build_model(architecture, round):\n    model = build_segmenter(architecture, len(round.classes))\n"
    return head + "".join(f"    {line}\n" for line in (*lines, "return model")) + rest


def settings(*lines: str) -> str:
    """A method with these settings."""
    return "@attrs.frozen(kw_only=True)\nclass Settings(MethodSettings):\n" + "".join(f"    {line}\n" for line in lines) + target("return {}")


def round_end(*lines: str, before: str = "") -> str:
    """A method with these lines as its `on_round_end`."""
    return f"{before}\n@hookimpl\ndef on_round_end(round):\n" + "".join(f"    {line}\n" for line in lines)


STATIC = [
    Fault("other version", "api", "UDACORE_API = 9\n" + target("return {}"), "written for version 9 of the hooks"),
    Fault("misspelt hook", "hooks", target("return {}").replace("target_loss", "targetloss"), "no hook 'targetloss'; did you mean 'target_loss'?"),
    Fault("unknown argument", "hooks", target("return {}").replace("(step)", "(step, batch)"), "asks for 'batch', but the hook is target_loss(step)"),
    Fault("list for a tuple", "settings", settings("size: tuple[int, int] = option([4, 2], 'two sides')"), "size = [4, 2] comes back from YAML as (4, 2)"),
    Fault("type of its own", "settings", settings("path: Path = option(Path('x'), 'a file')"), "setting path has the type Path; possible: bool, int"),
    Fault("default of another type", "settings", settings("path: str = option(Path('x'), 'a file')"), "cannot be read back from YAML"),
    Fault("no help", "settings", settings("weight: float = option(1.0)"), "settings without help: weight"),
    Fault("no default", "settings", settings("weight: float = option(help='a weight')"), "give every option a default"),
]

CRITIC = build("model.critic = nn.Conv2d(len(round.classes), 1, 1)")
FAST = [
    Fault("five classes", "build", build().replace("len(round.classes)", "5"), "the model has num_classes 5, the round has 12 classes"),
    Fault("no model", "build", build().replace("return model", "return 3"), "must return a torch.nn.Module, got int"),
    Fault("bare tensor", "build", build("forward = model.forward", "model.forward = lambda image, **named: forward(image).logits"), "return udacore.Output("),
    Fault("log of zero", "losses_finite", target("return see(step).relu().log().mean()"), "gives the loss 'target' = -inf on ordinary images"),
    Fault("not a scalar", "losses_differentiable", target("return see(step).mean((1, 2, 3))"), "must be a scalar tensor, got a tensor of shape (2,)"),
    Fault("no graph", "losses_differentiable", target("return see(step).detach().mean()"), "has no graph"),
    Fault(
        "graph of the source", "losses_differentiable",
        "@hookimpl\ndef source_loss(step):\n    step.kept['x'] = step.model(step.source.image).logits\n    return step.kept['x'].square().mean()\n"
        + target("return (see(step) - step.kept['x']).square().mean()"),
        "say `update: joint`, or detach what is kept",
    ),
    Fault(
        "graph of an earlier yield", "losses_differentiable", target("x = see(step)", "yield x.square().mean()", "yield {'late': x.exp().mean()}"),
        "the loss of yield 2 reaches into the graph of an earlier loss",
    ),
    Fault(
        "returned by a generator", "losses_differentiable", target("yield see(step).mean()", "return {'x': see(step).mean()}"),
        "target_loss, round 'source', step 0, yield 2: a generator returned dict, which nobody takes",
    ),
    Fault("log of zero in turn", "losses_finite", target("yield see(step).mean()", "yield see(step).relu().log().mean()"),
          "gives the loss 'target', yield 2 = -inf on ordinary images"),
    Fault("first image in turn", "losses_order", target("yield see(step).mean()", "yield see(step)[0].square().mean()"),
          "gives the loss 'target', yield 2 ="),
    Fault("no such part in turn", "losses_parts", target("yield see(step).mean()", "yield {'critic/fake': see(step).mean()}"),
          "gives the loss 'critic/fake', yield 2 for the part 'critic'"),
    Fault("own backward in turn", "losses_parts", target("x = see(step)", "yield x.mean()", "see(step).mean().backward()"), "return or yield the loss"),
    Fault("root of zero", "losses_differentiable", target("return (0 * see(step)).square().sum().sqrt()"), "look for sqrt, norm and log at 0"),
    Fault("made on the CPU", "losses_device", target("return (see(step).mean((0, 2, 3)) - torch.zeros(12)).square().mean()"), "make it with device=x.device"),
    Fault("constant of the module", "losses_device", target("return (see(step).mean((0, 2, 3)) * W['a']).sum()", before="W = {'a': torch.ones(12)}"),
          "or a buffer of the model"),
    Fault("attribute of the model", "losses_device", build("model.w = torch.ones(12)", rest=target("return (see(step).mean((0, 2, 3)) * step.model.w).sum()")),
          "or a buffer of the model"),
    Fault(
        "cached", "losses_device", target("see(step)", "return (see(step).mean((0, 2, 3)) * cached(12)).sum()",
        before="import functools\n\n@functools.cache\ndef cached(n):\n    return torch.ones(n)\n"), "or a buffer of the model",
    ),
    Fault("GPU by name", "losses_device", target("return see(step).mean() + torch.ones(1, device='cuda').sum()"), "names the device 'cuda'; use x.device"),
    Fault("array on the CPU", "losses_device", target("return (see(step).mean((0, 2, 3)) * torch.asarray([1.0] * 12)).sum()"), "make it with device=x.device"),
    Fault("twice as wide", "losses_device", target("x = see(step)", "return (x.mean((0, 2, 3)) * torch.as_tensor(np.ones(12), device=x.device)).sum()"),
          "in float64, which not every device has"),
    Fault("through NumPy", "losses_device", target("x = see(step)", "return x.mean() * float(x.detach().numpy().max())"), "call .cpu() first"),
    Fault("generator", "losses_device", target("x = see(step)", "return (x * torch.rand(12, 1, 1, generator=step.generator, device=x.device)).mean()"),
          "draw first, then .to(x.device)"),
    Fault(
        "mean over nothing", "losses_empty",
        target("x = see(step)", "valid = step.target.valid[:, ::4, ::4][:, None]", "return (x * valid).sum() / valid.sum()"), "= nan where no pixel is valid",
    ),
    Fault(
        "255 is a class", "losses_empty",
        "@hookimpl\ndef source_loss(step):\n    x = step.model(step.source.image).logits\n    label = step.source.label\n"
        "    return segmentation_loss(x, label.where(label < 12, 0), step.model.align_corners)\n", "where no pixel is valid (label 255, valid False); leave",
    ),
    Fault("first image", "losses_order", target("return see(step)[0].square().mean()"), "treat all images of a batch alike"),
    Fault("no such part", "losses_parts", target("return {'critic/fake': see(step).mean()}"), "for the part 'critic', which this round does not train"),
    Fault("part without entry", "losses_parts", build("model.head = nn.Conv2d(12, 1, 1)") + target("return {'head/x': step.model.head(see(step)).mean()}"),
          "give `head` an entry under `parts:` in the preset"),
    Fault("other part", "losses_parts", CRITIC + target("return {'fake': step.model.critic(see(step).detach()).mean()}"), "reaches no parameter of its part"),
    Fault("own backward", "losses_parts", target("loss = see(step).mean()", "loss.backward(retain_graph=True)", "return loss"), "do not call backward()"),
    Fault(
        "own step", "losses_parts", target("with torch.no_grad():", "    next(step.model.parameters()).mul_(0.9)", "return see(step).mean()"),
        "only the optimiser changes parameters",
    ),
    Fault("image changed", "losses_parts", target("step.target.image.add_(0.1)", "return see(step).mean()"), "change step.target.image.clone()"),
    Fault("label changed", "losses_parts", "@hookimpl\ndef source_loss(step):\n    step.source.label[step.source.label == 3] = 255\n    return None\n",
          "the hooks change step.source.label in place"),
    Fault("shared part", "losses_parts", build("model.critic = model.backbone") + target("return see(step).mean()"), "are one parameter in two parts"),
    Fault("label asked for", "target_batch", target("getattr(step.target, 'label', None)", "return see(step).mean()"), "asks the target batch for 'label'"),
    Fault(
        "module variable", "instances", target("SEEN.append(len(SEEN))", "return see(step).square().mean() * len(SEEN)", before="SEEN = []"),
        "something is remembered outside of the model",
    ),
    Fault(
        "kept by name", "instances",
        target("x = see(step)", "old = [KEPT.setdefault(name, one.detach()) for name, one in zip(step.target.name, x)]",
               "return (x - torch.stack(old)).square().mean() + x.square().mean()", before="KEPT = {}"), "kept by an image's name outside of the model",
    ),
    Fault("shared layer", "instances", "HEAD = nn.Conv2d(12, 1, 1)\n" + build("model.critic = HEAD"), "make the tensor or module inside of build_model"),
    Fault("kept graph", "deep_copy", target("step.model.last = see(step)", "return step.model.last.mean()"), "the model cannot be copied"),
    Fault(
        "counts in Python", "state_dict", build("model.count = 0", rest=target("step.model.count += 1", "return see(step).square().mean() * step.model.count")),
        "register what it remembers with register_buffer",
    ),
    Fault(
        "fleeting buffer", "state_dict", build("model.register_buffer('count', torch.ones(()), persistent=False)",
        rest=target("step.model.count += 1", "return see(step).square().mean() * step.model.count")), "without persistent=False, as count is",
    ),
    Fault("drawn from NumPy", "random_state", target("return see(step).mean() * np.random.rand()"), "np.random.default_rng(int(torch.randint(2**62,"),
    Fault("drawn from Python", "random_state", build("model.factor = random.random()"), "in build_model draw with torch"),
    Fault("set generator", "random_state", target("torch.manual_seed(0)", "return see(step).mean()"), "do not call torch.manual_seed"),
    Fault("set NumPy's", "random_state", build("np.random.seed(0)"), "do not call np.random.seed"),
    Fault(
        "narrow buffer", "bf16", build("model.register_buffer('mean', torch.zeros(12))")
        + target("x = see(step)", "step.model.mean = x.detach().mean((0, 2, 3))", "return x.mean()"), "mean turned from torch.float32 to torch.bfloat16",
    ),
    Fault("sure in 8 bits", "bf16", target("x = see(step)", "return (x + 1e4 - 1e4).square().mean() + 1"), "in float32 and"),
    Fault("not for NumPy", "bf16", target("x = see(step)", "return x.mean() * float(x.detach().cpu().numpy().max())"), "widen with .float()"),
]  # fmt: skip

WATCHED = "Path(round.origin.session.config.rounds['source'].target.root) / 'labels'"
MANY = build("model.register_buffer('mean', torch.zeros(12))", rest=target(
    "torch.manual_seed(0)", "label = getattr(step.target, 'label', None)", "x = see(step)", "step.model.mean = x.detach().mean((0, 2, 3))",
    "return x[0].relu().log().mean() + torch.zeros(12).mean() + (x.mean((0, 2, 3)) - torch.zeros(12)).sum()",
))  # fmt: skip
"""Faults for several checks at once."""

RUNS = [
    Fault("fails at the end", "run", round_end("raise KeyError('prototype')"), "the run of all rounds fails: KeyError: 'prototype'"),
    Fault("file of the author's", "run", target("return see(step).mean() * len(Path('w.txt').read_text())"), "the method's own lies in its package"),
    Fault("working directory", "surroundings", round_end("os.chdir('/')"), "the method changes the working directory"),
    Fault("seeds at import", "surroundings", "random.seed(0)\n" + round_end("return None"), "the global random state, by random.seed in"),
    Fault("default type", "surroundings", round_end("torch.set_default_dtype(torch.float64)"), "torch's default type"),
    Fault("file beside it", "files", round_end("(Path(__file__).parent / 'notes.txt').write_text('x')"), "notes.txt, outside of the run folder"),
    Fault("file of torch", "files", round_end("torch.save(torch.zeros(1), 'state.pt')"), "state.pt in the working directory"),
    Fault("label of the target", "target_files", round_end(f"next(({WATCHED}).glob('*.png')).read_bytes()"), ".png, the label of a target image"),
    Fault("label of the target by OpenCV", "target_files", round_end(f"import cv2; cv2.imread(str(next(({WATCHED}).glob('*.png'))), 0)"), ".png, the label of"),
    Fault("order of a set", "same_seed", target("x = see(step)", "return {n: x.square().mean() * int(n) for n in set('123456789')}"), "no order of a set"),
    Fault(
        "own generator", "same_seed",
        target("return see(step).mean() * RNG.random()", before="RNG = np.random.default_rng()"), "two runs of one seed differ in",
    ),
    Fault(
        "own counter", "resume", target("SEEN.append(1)", "return see(step).square().mean() * len(SEEN)", before="SEEN = []"), "killed and resumed differs in",
    ),
    Fault(
        "not summed", "processes", build("model.register_buffer('mean', torch.zeros(3))")
        + target("step.model.mean.copy_(step.target.image.mean((0, 2, 3)))", "return see(step).mean()"), "sum over ranks with udacore.ranks.all_sum",
    ),
]  # fmt: skip
