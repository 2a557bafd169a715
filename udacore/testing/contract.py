"""The contract as a test class to inherit: `from udacore.testing import MethodContract`."""

from __future__ import annotations

import contextlib
import inspect
import warnings
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

    Nothing is downloaded and no accelerator is needed. The rounds of the method's preset `streets` (of a
    method without one: of the method that it builds on, else of the core's `streets-adapt`) are tried on four
    images of 64 x 32 pixels of each embedded domain, two steps a round, about 20 seconds of a core that has
    nothing else to do in all. Each test is one check; a failure is one line that says what was seen, where,
    and what to change. No check depends on another: what is broken in one way fails for that, whatever else
    is wrong. An exception of the method itself keeps its traceback. At last the terminal shows which preset
    was tried, and which settings and losses of the method no check has reached.

    method     name of the entry point; path of a .py file, relative to the file of the test class; a
               `Method`; or the module or object that holds the hooks (an object must be found under its
               module and name: the runs take place in processes of their own)
    preset     name of a preset, or a file (beside the test class), whose rounds are
               tried, if it is not `streets`
    overrides  changes to it as on the command line, such as `("method.width=8",)`, for
               networks that would be slow
    image_size (width, height) of the images, for methods that need larger ones; called `picture` until 0.3
    exempt     name of a check (that of the test without `test_`) -> why it cannot hold for this method. The
               check is skipped and the reason is shown; a name that is no check and an empty reason are
               errors
    """

    method: ClassVar[Any] = None
    preset: ClassVar[str | None] = None
    overrides: ClassVar[Sequence[str]] = ()
    image_size: ClassVar[tuple[int, int]] = (64, 32)
    exempt: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        """The method on trial."""
        _check_exempt(cls.exempt)
        preset = cls.preset if cls.preset is None else _beside(cls, cls.preset)
        return Subject(_find(cls), preset=preset, overrides=cls.overrides, image_size=_image_size(cls))

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


def _make_test(name: str, check: Callable[[Any], object], fixture: str, kind: type) -> Callable[..., None]:
    """The test of a check, which takes the fixture that the check looks at."""

    def test(_: MethodContract, **given: Any) -> None:
        __tracebackhide__ = True
        _check(check, given[fixture])

    test.__name__ = f"test_{name}"
    test.__qualname__ = f"{MethodContract.__name__}.test_{name}"
    test.__doc__ = check.__doc__
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("self", either), inspect.Parameter(fixture, either, annotation=kind.__name__)]
    # By its signature pytest knows which fixture the test takes
    test.__signature__ = inspect.Signature(parameters, return_annotation="None")  # type: ignore[attr-defined]
    return test


for _fixture, _kind, _checks in (("subject", Subject, STATIC), ("trial", Trial, FAST), ("runs", Runs, RUNS)):
    for _name, _one in _checks.items():
        setattr(MethodContract, f"test_{_name}", _make_test(_name, _one, _fixture, _kind))


def _check(check: Callable[[Any], object], on_trial: Any) -> None:
    """A broken contract is told in its own words; any other exception keeps its traceback."""
    __tracebackhide__ = True
    try:
        watch_check(check, on_trial) if isinstance(on_trial, Trial) else check(on_trial)
    except (ContractError, UdaError) as error:
        pytest.fail(str(error), pytrace=False)


def _show(config: pytest.Config, line: str) -> None:
    """A line on the terminal, whatever pytest was told to show of skipped tests; the summary of several
    workers shows it with -rs."""
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


def _image_size(cls: type[MethodContract]) -> tuple[int, int]:
    """The size that the class states, by its old name too."""
    old: tuple[int, int] | None = getattr(cls, "picture", None)
    if old is not None:
        warnings.warn(f"{cls.__name__}.picture is now image_size; the old name goes in udacore 0.3", DeprecationWarning, stacklevel=2)
    return old or cls.image_size


def _beside(cls: type[MethodContract], word: str) -> str:
    """The file of that name beside the test, if there is one."""
    file = Path(inspect.getfile(cls)).parent / word
    return str(file) if file.is_file() else word
