from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from udacore.config.checks import is_path
from udacore.config.resolve import load_config
from udacore.config.schema import RoundConfig
from udacore.errors import ConfigError
from udacore.options import MethodSettings, option

TWO = """
steps: 10
evaluate: {val: {}}
parts: {segmenter: {}, critic: {}}
rounds: {source: {}, adapt: {}}
"""


def problem_of(tmp_path: Path, *overrides: str) -> str:
    (tmp_path / "two.yaml").write_text(TWO)
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "two.yaml"), overrides)
    return str(caught.value).partition("two.yaml: ")[2]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("steps=-1", "steps: must be a number of steps, 0 or more, or such as '20 epochs', got -1"),
        ("steps=20 epoks", "steps: must be a number of steps, 0 or more, or such as '20 epochs', got '20 epoks'"),
        ("rounds.adapt.evaluate.val.every=often", "rounds.adapt.evaluate.val.every: must be a number of steps"),
        ("parts.critic.schedule.horizon=x", "parts.critic.schedule.horizon: must be a number of steps"),
        ("parts.critic.schedule.at=[1, x]", "parts.critic.schedule.at[1]: must be a number of steps"),
        ("parts.critic.schedule.from=x", "parts.critic.schedule.from: must be a number of steps"),
        ("accumulation=3", "accumulation: must divide the batch: 8 images are not 3 equal micro-batches"),
        ("rounds.adapt={batch: 3, accumulation: 2}", "rounds.adapt.accumulation: must divide the batch: 3 images are not 2 equal"),
        ("draws=[]", "draws: 10 steps of nothing; possible: source, target, both, or steps: 0"),
        ("draws=[source, source]", "draws: names a domain twice: ['source', 'source']"),
        ("trains=[critik]", "trains: no part 'critik' under parts; did you mean 'critic'?"),
        ("parts.critic.groups={'bias(': 2}", "parts.critic.groups: 'bias(' is no regular expression: "),
        ("parts.critic.groups={'b.{depth}': 0.9}", "parts.critic.groups: 'b.{depth}' has {depth}, so it takes {decay: 0.9}, got 0.9"),
        ("parts.critic.groups={'b.1': {decay: 0.9}}", "parts.critic.groups: 'b.1' has a decay but no {depth}, such as layers.{depth}."),
        ("parts.critic.groups={'b.{depth}': {decay: 1.5}}", "parts.critic.groups.b.{depth}.decay: must be a number above 0 and at most 1, got 1.5"),
        ("parts.critic.groups={'b.{depth}': {decay: fast}}", "parts.critic.groups.b.{depth}.decay: must be a number above 0 and at most 1, got 'fast'"),
        ("parts.critic.clip=0", "parts.critic.clip: must be above 0, got 0"),
        ("parts.critic.schedule={warmup: 3, warmup_from: 2}", "parts.critic.schedule.warmup_from: must be at most 1, got 2"),
        ("parts.critic.schedule={warmup_from: 0.1}", "parts.critic.schedule.warmup_from: is the factor with which a warm-up begins"),
        ("parts.critic.schedule={name: cosine, lowest: 2}", "parts.critic.schedule.lowest: must be at most 1, got 2"),
        ("rounds.adapt.evaluate.val={window: [64, 32], stride: [64, 33]}", "rounds.adapt.evaluate.val.stride: 64 x 33 leaves gaps between windows of 64 x 32"),
        ("rounds.adapt.evaluate.val.window_batch=0", "rounds.adapt.evaluate.val.window_batch: must be at least 1, got 0"),
        ("parts.critic.no_decay=['*']", "parts.critic.no_decay: '*' is no regular expression: "),
        ("best_on=vall", "best_on: no set 'vall' under evaluate; did you mean 'val'?"),
        ("weights=previous", "rounds.source.weights: 'previous' means nothing in the first round; possible: initial, a file"),
        ("rounds.source.weights=best", "rounds.source.weights: 'best' means nothing in the first round"),
        ("rounds.adapt.weights=prevous", "rounds.adapt.weights: must be initial, previous, best, 'round NAME' or a file, got 'prevous'; did you"),
        ("rounds.adapt.weights=source", "rounds.adapt.weights: is a round's name alone; write 'round source'"),
        ("rounds.adapt.weights=round sorce", "rounds.adapt.weights: there is no round 'sorce'; did you mean 'source'?"),
        ("rounds.adapt.weights=round adapt", "rounds.adapt.weights: the round 'adapt' does not come before this one; earlier: source"),
        ("rounds.adapt.weights={critik: best}", "rounds.adapt.weights.critik: no such part; did you mean 'critic'?"),
        ("rounds.adapt.weights={critic: bst}", "rounds.adapt.weights.critic: must be initial, previous, best"),
        ("initial=imagnet", "initial: must be imagenet, timm, random or a file, got 'imagnet'; did you mean 'imagenet'?"),
        ("initial={critik: random}", "initial.critik: no such part; did you mean 'critic'?"),
        ("rounds.source.steps=0", "rounds.source.steps: 0 means that the work was done elsewhere: give weights"),
        ("rounds.source.steps=0 epochs", "rounds.source.steps: 0 means that the work was done elsewhere: give weights"),
        ("rounds.source.target.labels=make", "rounds.source.target.labels: the first round has no round before it that could make labels"),
        ("rounds.source.target.labels=adapt", "rounds.source.target.labels: the round 'adapt' does not come before this one; earlier: none"),
        ("rounds.adapt.target.labels=sorce", "rounds.adapt.target.labels: 'sorce' is neither a round nor a folder; did you mean 'source'?"),
        ("rounds.adapt.source.images=adapt", "rounds.adapt.source.images: the round 'adapt' does not come before this one; earlier: source"),
        ("rounds.adapt.source.images=make", "rounds.adapt.source.images: 'make' is neither a round nor a folder"),
    ],
)
def test_what_does_not_fit_together_is_one_line(tmp_path: Path, override: str, words: str) -> None:
    assert problem_of(tmp_path, override).startswith(words)


def test_the_best_model_needs_a_set_to_choose_by(tmp_path: Path) -> None:
    words = "keep: best needs a set under evaluate, by which it is chosen"
    assert problem_of(tmp_path, "keep=best", "evaluate.val=null") == words


@pytest.mark.parametrize(
    "override",
    [
        "rounds.adapt={steps: 0, draws: []}",
        "trains=[]",
        "trains=[segmenter]",
        "keep=best",
        "rounds.adapt.steps=0",
        "rounds.adapt.weights={segmenter: previous, critic: initial}",
        "rounds.adapt.weights=best",
        "rounds.adapt.target.labels=make",
        "rounds.adapt.target.labels=source",
        "rounds.adapt.source.images=source",
        "rounds.source.target.labels=some/folder",
        "rounds.source.weights=model.pt",
        "initial={segmenter: weights.pth, critic: random}",
        "steps=1.5 epochs",
    ],
)
def test_what_fits_is_taken(tmp_path: Path, override: str) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    assert load_config(str(tmp_path / "two.yaml"), [override]) != load_config(str(tmp_path / "two.yaml"))


def test_steps_of_zero_are_possible_with_a_file_of_weights(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    config = load_config(str(tmp_path / "two.yaml"), ["rounds.source.steps=0", "rounds.source.weights=model.pt"])
    assert (config.rounds["source"].steps, config.rounds["source"].weights) == (0, "model.pt")


def test_a_fault_above_the_rounds_is_told_once_and_of_its_place(tmp_path: Path) -> None:
    assert problem_of(tmp_path, "initial=imagnet").startswith("initial: ")
    assert problem_of(tmp_path, "rounds.adapt.initial=imagnet").startswith("rounds.adapt.initial: ")


def test_a_word_is_a_path_if_it_looks_like_one_or_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels").mkdir()
    assert [word for word in ("labels", "a/b", "~", "model.pt", "label", "make") if is_path(word)] == ["labels", "a/b", "~", "model.pt"]


@attrs.frozen(kw_only=True)
class Careful(MethodSettings):
    """A method that goes with small batches alone."""

    largest: int = option(8, "images in a batch at most")

    def _find_problems(self, round: RoundConfig) -> Iterator[tuple[str, str]]:
        if round.batch > self.largest:
            yield "batch", f"{round.batch} images, but method.largest is {self.largest}"


def test_a_methods_settings_may_refuse_a_round_that_does_not_go_with_them(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO)

    def load(*overrides: str) -> object:
        return load_config(str(tmp_path / "two.yaml"), overrides, method_settings=Careful)

    assert load()
    with pytest.raises(ConfigError, match=r"two\.yaml: batch: 9 images, but method\.largest is 8$"):
        load("batch=9")
    with pytest.raises(ConfigError, match=r"two\.yaml: rounds\.adapt\.batch: 9 images, but method\.largest is 2$"):
        load("batch=1", "rounds.adapt={batch: 9, method: {largest: 2}}")
    with pytest.raises(ConfigError) as caught:  # what cannot be read is told alone
        load("batch=9", "keep=x")
    assert "largest" not in str(caught.value)
