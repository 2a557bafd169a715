"""The contract as a test class to inherit: `from udacore.testing import MethodContract`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from udacore.errors import UdaError, near_matches
from udacore.methods.discovery import is_file
from udacore.testing.checks import FAST, RUNS, STATIC, Reach, Subject, Trial, watch_check
from udacore.testing.checks.report import ContractError
from udacore.testing.checks.runs import Runs
from udacore.testing.checks.trial import undisturbed_process


class MethodContract:
    """Inherit it, name the method, and pytest checks what every method has to hold:

        from udacore.testing import MethodContract

        class TestContract(MethodContract):
            method = "my-method"

    Nothing is downloaded and no accelerator is needed. The rounds of the method's preset `streets` (of a method without one: of the
    method that it builds on, else of the core's `streets-adapt`) are tried on four pictures of 64 x 32 pixels of each embedded
    domain, two steps a round, about 20 seconds of a core that has nothing else to do in all. Each test is one check; a failure is one
    line that says what was seen, where, and what to change. No check depends on another: what is broken in one way fails for that,
    whatever else is wrong. An exception of the method itself keeps its traceback. At last the terminal shows which preset was tried,
    and which settings and losses of the method no check has reached.

    method     name of the entry point; path of a .py file, relative to the file of the test class; a `Method`; or the module or object
               that holds the hooks (an object must be found under its module and name: the runs take place in processes of their own)
    preset     name of a preset, or a file (beside the test class), whose rounds are tried, if it is not `streets`
    overrides  changes to it as on the command line, such as `("method.width=8",)`, for networks that would be slow
    picture    (width, height) of the pictures, for methods that need larger ones
    exempt     name of a check (that of the test without `test_`) -> why it cannot hold for this method. The check is skipped and the reason
               is shown; a name that is no check and an empty reason are errors
    """

    method: ClassVar[Any] = None
    preset: ClassVar[str | None] = None
    overrides: ClassVar[Sequence[str]] = ()
    picture: ClassVar[tuple[int, int]] = (64, 32)
    exempt: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        """The method on trial."""
        _check_exempt(cls.exempt)
        preset = cls.preset if cls.preset is None else _beside(cls, cls.preset)
        return Subject(_find(cls), preset=preset, overrides=cls.overrides, picture=cls.picture)

    @pytest.fixture(scope="class")
    @classmethod
    def reach(cls, subject: Subject, request: pytest.FixtureRequest) -> Iterator[Reach]:
        """Which of its settings and losses the checks reach; said when the last of them is done."""
        reach = Reach()
        yield reach
        if reach.is_used:
            _show(request.config, "\n".join(f"{cls.__name__}: {line}" for line in reach.describe(subject)))

    @pytest.fixture(scope="class")
    @classmethod
    def trial(cls, subject: Subject, reach: Reach) -> Trial:
        """Its rounds, set up for a look at single steps."""
        return Trial(subject, reach)

    @pytest.fixture(scope="class")
    @classmethod
    def runs(cls, subject: Subject, reach: Reach, tmp_path_factory: pytest.TempPathFactory) -> Runs:
        """Its runs in processes of their own, each made when it is first needed."""
        return Runs(subject, tmp_path_factory.mktemp("contract"), reach)

    @pytest.fixture(autouse=True)
    def _exempted(self, request: pytest.FixtureRequest) -> Iterator[None]:
        name = str(request.node.name).removeprefix("test_")
        if name in self.exempt:
            reason = f"{name} is not checked: {self.exempt[name]}"
            _show(request.config, f"{request.node.nodeid}: {reason}")
            pytest.skip(reason)
        with undisturbed_process():
            yield

    def test_entry_point(self, subject: Subject) -> None:
        """The name is that of an installed entry point, claimed once, and what it names imports; a file imports."""
        _check(STATIC["entry_point"], subject)

    def test_api(self, subject: Subject) -> None:
        """`UDACORE_API`, where the method states it, is that of this core."""
        _check(STATIC["api"], subject)

    def test_hooks(self, subject: Subject) -> None:
        """Every function marked as a hook is one, asks for arguments that the hook has, and at least one is there."""
        _check(STATIC["hooks"], subject)

    def test_settings(self, subject: Subject) -> None:
        """Each setting has a default and a line of help, and defaults and presets come back from YAML as they were."""
        _check(STATIC["settings"], subject)

    def test_presets(self, subject: Subject) -> None:
        """Every preset of the method loads, its complete configuration reads back to the same, and its optimisers take their options."""
        _check(STATIC["presets"], subject)

    def test_build(self, trial: Trial) -> None:
        """Every round's model is built on the CPU in seconds, gives logits for each class, and has the attributes that the core reads."""
        _check(FAST["build"], trial)

    def test_losses_finite(self, trial: Trial) -> None:
        """Every loss of every round is finite on ordinary pictures, with weights as built."""
        _check(FAST["losses_finite"], trial)

    def test_losses_differentiable(self, trial: Trial) -> None:
        """Every loss is a scalar with a graph, and the round's `update` can carry it back to finite gradients."""
        _check(FAST["losses_differentiable"], trial)

    def test_losses_device(self, trial: Trial) -> None:
        """Tensors are made where the batches are, with `device=x.device`, never on the CPU by default or by name; losses are no float64."""
        _check(FAST["losses_device"], trial)

    def test_losses_empty(self, trial: Trial) -> None:
        """Where no pixel is valid, a loss that looks at labels or at `valid` is zero, with a graph; no loss is NaN.

        Which losses those are is tried out: the ones that change when the labels or the valid pixels do.
        """
        _check(FAST["losses_empty"], trial)

    def test_losses_order(self, trial: Trial) -> None:
        """The order of the images within a batch changes no loss (both batches are turned round alike; dropout is off)."""
        _check(FAST["losses_order"], trial)

    def test_losses_parts(self, trial: Trial) -> None:
        """Each loss trains its own part and nothing else: it reaches that part, and the hooks themselves change no parameter and no batch."""
        _check(FAST["losses_parts"], trial)

    def test_target_batch(self, trial: Trial) -> None:
        """No label of the target is asked for: the batch has none."""
        _check(FAST["target_batch"], trial)

    def test_instances(self, trial: Trial) -> None:
        """Two models of a method share nothing: what one has seen, the other does not know."""
        _check(FAST["instances"], trial)

    def test_deep_copy(self, trial: Trial) -> None:
        """A deep copy of a model that has been trained is equal to it and independent of it."""
        _check(FAST["deep_copy"], trial)

    def test_state_dict(self, trial: Trial) -> None:
        """What the model's `state_dict` holds is all that it remembers: a new model that loads it goes on alike."""
        _check(FAST["state_dict"], trial)

    def test_random_state(self, trial: Trial) -> None:
        """The hooks set no global random generator, and draw from none but torch's."""
        _check(FAST["random_state"], trial)

    def test_bf16(self, trial: Trial) -> None:
        """Under `amp=bf16` losses and gradients stay finite and near those of float32, and what is remembered keeps its type."""
        _check(FAST["bf16"], trial)

    def test_run(self, runs: Runs) -> None:
        """All rounds, with their ends, labels and evaluations, run through in less than a minute on one core."""
        _check(RUNS["run"], runs)

    def test_surroundings(self, runs: Runs) -> None:
        """Importing the method and running it leaves random states, working directory, environment and torch's switches alone."""
        _check(RUNS["surroundings"], runs)

    def test_files(self, runs: Runs) -> None:
        """Nothing is written but the run folder and the user's cache."""
        _check(RUNS["files"], runs)

    def test_target_files(self, runs: Runs) -> None:
        """No file with a label of the target's training images is opened, in no round and by no hook."""
        _check(RUNS["target_files"], runs)

    def test_same_seed(self, runs: Runs) -> None:
        """The same seed gives the same weights, numbers, labels and pictures, bit for bit, whatever the process did before."""
        _check(RUNS["same_seed"], runs)

    def test_resume(self, runs: Runs) -> None:
        """A run that is killed in every round, and resumed, ends bit for bit like one that nobody disturbed."""
        _check(RUNS["resume"], runs)

    def test_processes(self, runs: Runs) -> None:
        """Two processes that train together come through all rounds, and what the model remembers is the same in both."""
        _check(RUNS["processes"], runs)


def _check(check: Callable[[Any], None], on_trial: Any) -> None:
    """A broken contract is told in its own words; any other exception keeps its traceback."""
    __tracebackhide__ = True
    try:
        watch_check(check, on_trial) if isinstance(on_trial, Trial) else check(on_trial)
    except (ContractError, UdaError) as error:
        pytest.fail(str(error), pytrace=False)


def _show(config: pytest.Config, line: str) -> None:
    """A line on the terminal, whatever pytest was told to show of skipped tests; the summary of several workers shows it with -rs."""
    reporter, capture = (config.pluginmanager.get_plugin(name) for name in ("terminalreporter", "capturemanager"))
    if reporter is not None:
        with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
            reporter.write_line(f"\n{line}")


def _check_exempt(exempt: Mapping[str, str]) -> None:
    names = (*STATIC, *FAST, *RUNS)
    for name, reason in exempt.items():
        if name not in names:
            raise ValueError(f"exempt: there is no check {name!r}{near_matches(name, names)}")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"exempt: say why {name!r} cannot hold for this method")


def _find(cls: type[MethodContract]) -> Any:
    """What the class names; a file is looked for beside the test first."""
    if cls.method is None:
        raise ValueError(f"{cls.__name__}: set `method` to the name of an entry point, a .py file, or an object with the hooks")
    return _beside(cls, str(cls.method)) if isinstance(cls.method, str | Path) and is_file(str(cls.method)) else cls.method


def _beside(cls: type[MethodContract], word: str) -> str:
    """The file of that name beside the test, if there is one."""
    file = Path(inspect.getfile(cls)).parent / word
    return str(file) if file.is_file() else word
