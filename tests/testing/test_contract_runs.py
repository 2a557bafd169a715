"""What the contract finds in whole runs, and how the class to inherit behaves under pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from udacore.testing import MethodContract, checks, contract
from udacore.testing.checks import ContractError, Subject, whole
from udacore.testing.checks.runs import Runs
from udacore.testing.checks.subject import load_method

sys.path.append(str(Path(__file__).resolve().parent))
import faults
from faults import Fault


def prepare(folder: Path, source: str, config: str = faults.CONFIG) -> Runs:
    (folder / "method.py").write_text(source)
    (folder / "config.yaml").write_text(config)
    return Runs(Subject(str(folder / "method.py"), preset=str(folder / "config.yaml")), folder / "runs")


@pytest.mark.parametrize("fault", faults.RUNS, ids=lambda fault: f"{fault.check}: {fault.name}")
def test_a_fault_of_the_runs_is_found_by_its_check(fault: Fault, tmp_path: Path) -> None:
    runs = prepare(tmp_path, faults.HEAD + fault.source)
    with pytest.raises(ContractError) as found:
        checks.RUNS[fault.check](runs)
    assert fault.words in str(found.value)
    if fault.check != "run":
        assert "\n" not in str(found.value)
        whole.check_run(runs)  # nothing else is wrong with it


LABELS = faults.build("model.share = 0.1") + faults.round_end("round.model.share = 0.9") + """
@hookimpl
def make_pseudo_labels(round):
    from udacore.pseudo_labels import make_thresholded_labels
    yield from make_thresholded_labels(round, percent=round.model.share)
"""


def test_what_the_end_of_a_round_leaves_for_the_labels_must_have_been_saved(tmp_path: Path) -> None:
    runs = prepare(tmp_path, faults.HEAD + LABELS, faults.TWO_ROUNDS)
    with pytest.raises(ContractError, match=r"killed and resumed differs in .*; all that is remembered, between steps and for the labels, must be a buffer"):
        whole.check_resume(runs)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return prepare(tmp_path_factory.mktemp("sound"), faults.HEALTHY, faults.TWO_ROUNDS)


@pytest.mark.parametrize("check", checks.RUNS)
def test_a_sound_method_passes(check: str, sound: Runs) -> None:
    checks.RUNS[check](sound)


def test_a_run_that_takes_too_long_says_what_to_make_smaller(sound: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "LIMIT", 0.0)
    with pytest.raises(ContractError, match=r"took \d+ s of one core, two steps each; it must stay below 0 s: make the networks of the preset"):
        whole.check_run(sound)


def test_a_method_that_waits_for_ever_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.runs, "PATIENCE", 1.0)
    runs = prepare(tmp_path, faults.HEAD + "import time\n" + faults.target("time.sleep(1000)", "return {}"))
    with pytest.raises(ContractError, match="the run of all rounds fails: the process hung for 1 s and was ended"):
        whole.check_run(runs)


def test_the_labels_of_the_target_are_there_and_are_no_images(sound: Runs) -> None:
    labels = sorted(sound.forbidden.glob("*.png"))
    assert [path.name for path in labels] == [f"0000{number}.png" for number in range(3)]  # two processes have shares of unequal size
    assert all(path.read_bytes().startswith(b"the label of a target image") for path in labels)


def test_an_object_that_no_other_process_can_find_is_named(tmp_path: Path) -> None:
    (tmp_path / "method.py").write_text(faults.HEAD + faults.target("return {}"))
    module = load_method(str(tmp_path / "method.py")).module

    class Local:
        target_loss = module.target_loss

    assert Subject(load_method(str(tmp_path / "method.py"))).reference() == ("plugin", str(tmp_path / "method.py"))
    assert Subject(checks).reference() == ("module", "udacore.testing.checks")
    with pytest.raises(ContractError, match=r"cannot be found by another process; set `method` to a name or a \.py file"):
        Subject(Local()).reference()


TEST = """
from udacore.testing import MethodContract

class TestAsItIs(MethodContract):
    method = "method.py"
    preset = "config.yaml"

class TestExempt(TestAsItIs):
    exempt = {"losses_order": "the first image leads"}
"""


def test_the_class_finds_files_beside_the_test_and_shows_what_is_exempt(tmp_path: Path) -> None:
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    own.mkdir()
    elsewhere.mkdir()
    prepare(own, faults.HEAD + faults.target("return see(step)[0].square().mean()"))
    (own / "test_method.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-q", "-k", "losses_order or entry_point or losses_finite"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(own)], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "treat all images of a batch alike" in done.stdout
    assert "Traceback" not in done.stdout
    assert "TestExempt::test_losses_order: losses_order is not checked: the first image leads" in done.stdout
    assert "1 failed, 4 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"loses_order": "x"}, "there is no check 'loses_order'; did you mean 'losses_order'"),
        ({"bf16": " "}, "say why 'bf16' cannot hold for this method"),
    ],
)
def test_an_exemption_without_a_check_or_a_reason_is_an_error(said: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        contract._check_exempt(said)


def test_a_class_that_names_no_method_says_so() -> None:
    with pytest.raises(ValueError, match="set `method` to the name of an entry point"):
        contract._find(MethodContract)
