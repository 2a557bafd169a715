"""The rows of the comparison on the embedded domains: each is a run with the start, steps
and seed of its partner."""

from __future__ import annotations

from pathlib import Path

from udacore.cli.arguments import open_run, read_run
from udacore.engine.evaluation import Result
from udacore.engine.results.scoring import score_checkpoint
from udacore.engine.run import run

ADABN = Path(__file__).parent.parent / "examples" / "adabn.py"
ORACLE_STEPS = 900
"""As many as a method takes after the source round."""


def carry_out(plugin: str, *words: str) -> Result:
    """Run a method to its end (a finished folder is read, not run again) and return
    its score on the target."""
    method, config = read_run(plugin, words)
    results = run(config, method, resume=True)
    return next(result for result in results if result.set == "target")


def common(folder: Path, name: str, seed: int, data: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What every run of a seed shares: the seed changes images and training."""
    pictures = tuple(
        f"{entry}.{word}"
        for entry in ("source", "target", "evaluate.target")
        for word in (f"data_seed={seed}", *data)
    )  # fmt: skip
    protocol = "evaluate.target.upsample=logits"  # one protocol for all rows; BDL's own presets enlarge probabilities
    return ("streets", f"folder={folder}", f"name={name}", f"seed={seed}", "tensorboard=false", "log_every=100", "save_every=400", protocol, *pictures)


def source_only(folder: Path, seed: int, *more: str) -> Result:
    """Labelled source images only; every other row starts from its weights."""
    return carry_out("source-only", *common(folder, "source-only", seed), "evaluate.source=null", *more)


def start(folder: Path) -> tuple[str, ...]:
    """Begin with the source-only weights in place of a source round."""
    return ("rounds.source.steps=0", f"rounds.source.weights={folder / 'source-only' / 'checkpoints' / '0-source.pt'}")


def adabn(folder: Path, seed: int, *more: str) -> Result:
    """Source-only weights, batch-norm statistics of the target."""
    return carry_out(str(ADABN), *common(folder, "adabn", seed), *start(folder), "evaluate.source=null", *more)


def adapted(plugin: str, folder: Path, seed: int, *more: str, control: bool = False) -> Result:
    """A method from the source-only weights; `control` multiplies every loss on the target by 0."""
    words = (*common(folder, plugin, seed), *start(folder), *more)
    return carry_out(plugin, *words, *(("control=true",) if control else ()))


def oracle(folder: Path, seed: int, *more: str) -> Result:
    """The source-only weights, trained on with the target's labels: what adaptation does without.

    Target labels from scratch would be a weak ceiling: 400 images are few (algorithms/streets 6).
    """
    weights = folder / "source-only" / "checkpoints" / "0-source.pt"
    words = ("source.domain=target", f"steps={ORACLE_STEPS}", f"weights={weights}", "parts.segmenter.lr=2e-3", "evaluate.source=null")
    return carry_out("source-only", *common(folder, "oracle", seed), *words, *more)


def aggregated(run: Path) -> Result:
    """A finished run of PLCA scored by aggregated inference (algorithms/clp 9.1), as
    its figures are published."""
    method, config, folder = open_run(str(run), ("evaluate.target.head=aggregated", "evaluate.target.upsample=probability"), None, None)
    (result,) = score_checkpoint(config, method, folder=folder, only=None, checkpoint=None)
    return result
