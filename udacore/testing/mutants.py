"""Methods broken on purpose, which a test of adaptation must not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

MUTANTS = {
    "zeroed": '''
@hookimpl
def target_loss(step):
    losses = method.target_loss(step)
    return map(zero, losses) if hasattr(losses, "__next__") else zero(losses)

def zero(losses):
    if losses is None:
        return None
    return {name: 0 * loss for name, loss in losses.items()} if isinstance(losses, dict) else 0 * losses
''',
    "shuffled": '''
@hookimpl
def make_pseudo_labels(round):
    rng = np.random.default_rng(0)
    for name, label in method.make_pseudo_labels(round):
        yield name, rng.permutation(label.reshape(-1)).reshape(label.shape)
''',
}
"""What each changes: every loss on the target multiplied by 0, or the pixels of each pseudo label
put into a random order."""


def write_mutant(folder: Path, module: str, kind: Literal["zeroed", "shuffled"]) -> Path:
    """A plugin file in `folder` with the hooks and settings of the installed `module`,
    but for one that is broken."""
    path = folder / f"{kind}.py"
    head = f'"""{module}, {kind}."""\nimport numpy as np\nimport {module} as method\nfrom {module} import *\nfrom udacore import hookimpl\n'
    path.write_text(head + MUTANTS[kind])
    return path
