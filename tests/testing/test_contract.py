"""The contract finds each fault that it is there for, in words that say what to
change, and passes what is sound."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udacore import source_only
from udacore.config.resolve import load_config
from udacore.config.sets import count_images
from udacore.methods.discovery import load_plugin
from udacore.testing import MethodContract, checks, fast_checks
from udacore.testing.checks import ContractError, Subject, Trial, losses, static
from udacore.testing.checks.subject import shrink

sys.path.append(str(Path(__file__).resolve().parent))
import faults
from faults import Fault

TABLES = {**checks.STATIC, **checks.FAST, **checks.RUNS}


def write(folder: Path, source: str, config: str = faults.CONFIG) -> Subject:
    (folder / "method.py").write_text(source)
    (folder / "config.yaml").write_text(config)
    return Subject(str(folder / "method.py"), preset=str(folder / "config.yaml"))


def fault_id(fault: Fault) -> str:
    return f"{fault.check}: {fault.name}"


def test_there_is_a_fault_for_every_check_and_a_documented_test_of_it() -> None:
    known = {"entry_point", "presets"}  # below: they need a package
    assert {fault.check for fault in (*faults.STATIC, *faults.FAST, *faults.RUNS)} | known == set(TABLES)
    assert len(TABLES) == 25
    for name, check in TABLES.items():
        assert inspect.getdoc(getattr(MethodContract, f"test_{name}")) == inspect.getdoc(check), name


@pytest.mark.parametrize("fault", [*faults.STATIC, *faults.FAST], ids=fault_id)
def test_a_fault_is_found_by_its_check_in_one_line(fault: Fault, tmp_path: Path) -> None:
    subject = write(tmp_path, faults.HEAD + fault.source)
    is_static = fault.check in checks.STATIC
    look: Any = TABLES[fault.check]
    result = checks.run_check(fault.check, lambda: look(subject if is_static else Trial(subject)))
    assert not result.ok
    assert fault.words in result.message
    assert "\n" not in result.message


def test_no_check_hides_another(tmp_path: Path) -> None:
    subject = write(tmp_path, faults.HEAD + faults.MANY)
    results = {result.check: result for result in fast_checks(subject.given, preset=subject.preset)}
    assert list(results) == [*checks.STATIC, *checks.FAST]
    words = {
        "losses_finite": "= -inf on ordinary images", "losses_device": "make it with device=x.device", "target_batch": "for 'label'",
        "random_state": "do not call torch.manual_seed", "bf16": "", "losses_differentiable": "not finite",
    }  # fmt: skip
    for check, said in words.items():
        assert not results[check].ok
        assert said in results[check].message
    assert results["build"].ok
    assert results["losses_parts"].ok


def test_a_sound_method_passes_all_fast_checks_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    subject = write(tmp_path, faults.HEALTHY, faults.TWO_ROUNDS)
    files = sorted(tmp_path.rglob("*"))
    bad = [result for result in fast_checks(subject.given, preset=subject.preset) if not result.ok]
    assert bad == []
    assert sorted(tmp_path.rglob("*")) == files
    assert [stage.name for stage in Trial(subject).stages] == ["source", "adapt"]


def test_a_method_that_yields_its_losses_one_after_another_passes_all_fast_checks(tmp_path: Path) -> None:
    head, _, rest = faults.HEALTHY.partition("    return losses\n")
    in_turn = head + "    yield losses\n    yield {}\n    yield {'deceit': 0.1 * step.model(step.target.image).logits.square().mean()}\n" + rest
    assert in_turn != faults.HEALTHY
    subject = write(tmp_path, in_turn, faults.TWO_ROUNDS)
    reached: list[str] = []
    bad = [result for result in fast_checks(subject.given, preset=subject.preset, reached=reached) if not result.ok]
    assert bad == []
    assert "losses seen: source, critic/source, deceit, critic/target, pseudo_label" in reached


COUNTS = faults.build("model.register_buffer('counts', torch.zeros(12))") + faults.round_end(
    "for batch in round.source(images=False):", "    round.model.counts += torch.bincount(batch.label[batch.label < 12].flatten(), minlength=12)",
) + faults.target(
    "if step.round.index == 0:", "    return {}", "if not step.model.counts.any():", "    raise RuntimeError('no counts')", "return see(step).square().mean()",
)  # fmt: skip


def test_a_round_that_needs_what_an_earlier_one_counted_at_its_end_has_it(tmp_path: Path) -> None:
    subject = write(tmp_path, faults.HEAD + COUNTS, faults.TWO_ROUNDS)
    losses.check_losses_finite(Trial(subject))
    forgetful = COUNTS.replace("round.model.counts +=", "round.model.count +=")
    result = checks.run_check("losses_finite", lambda: losses.check_losses_finite(Trial(write(tmp_path, faults.HEAD + forgetful, faults.TWO_ROUNDS))))
    assert result.message.startswith("RuntimeError: no counts")  # the end that failed is the business of another check


def test_an_unknown_entry_point_says_where_it_belongs(install: Callable[..., Path]) -> None:
    install("udacore-gone", {}, {"gone": "udacore_gone"})
    for name, words in (("nobody", "no plugin 'nobody' is installed"), ("gone", "No module named 'udacore_gone'")):
        with pytest.raises(ContractError) as found:
            static.check_entry_point(Subject(name))
        assert words in str(found.value)
        assert "[project.entry-points.\"udacore.plugins\"]" in str(found.value)
    static.check_entry_point(Subject("source-only"))


def test_a_preset_that_does_not_load_is_named(install: Callable[..., Path]) -> None:
    files = {"udacore_a/__init__.py": faults.HEAD + faults.target("return {}"), "udacore_a/presets/good.yaml": "steps: 3\nrounds: {adapt: {}}\n"}
    install("udacore-a", files, {"a": "udacore_a"})
    static.check_presets(Subject("a"))
    wrong = {name.replace("_a", "_b").replace("good", "wrong"): text.replace("steps", "stepps") for name, text in files.items()}
    install("udacore-b", wrong, {"b": "udacore_b"})
    with pytest.raises(ContractError, match=r"preset 'wrong': .*did you mean 'steps'\?"):
        static.check_presets(Subject("b"))


def test_a_preset_whose_optimiser_refuses_its_options_is_named(install: Callable[..., Path], tmp_path: Path) -> None:
    body = faults.HEAD + faults.target("return {}")
    wrong = "extends: streets-adapt\nparts: {segmenter: {options: {momentum: 0.9}}}\n"  # the preset below says AdamW
    install("udacore-c", {"udacore_c/__init__.py": body, "udacore_c/presets/wrong.yaml": wrong}, {"c": "udacore_c"})
    words = r"rounds\.source\.parts\.segmenter: AdamW does not take these options: .*momentum"
    with pytest.raises(ContractError, match=rf"preset 'wrong': {words}"):
        static.check_presets(Subject("c"))
    last = list(fast_checks("c"))[-1]
    assert (last.check, last.ok) == ("presets", False)
    (tmp_path / "method.py").write_text(body)
    with pytest.raises(ContractError, match=words):
        static.check_presets(Subject(str(tmp_path / "method.py"), overrides=("parts.segmenter.options.momentum=0.9",)))
    static.check_presets(Subject(str(tmp_path / "method.py"), overrides=("parts.segmenter={optimizer: SGD, options: {momentum: 0.9}}",)))


def test_a_method_that_does_not_import_ends_the_fast_checks_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    (result,) = fast_checks(str(tmp_path / "broken.py"))
    assert (result.check, result.ok) == ("entry_point", False)
    assert result.message.endswith(f"No module named 'no_such_module' ({tmp_path.name}/broken.py, line 1)")


def test_an_exception_of_the_method_is_one_line_with_its_place_and_round(tmp_path: Path) -> None:
    subject = write(tmp_path, faults.HEAD + faults.target("return {}['x']"))
    results = {result.check: result.message for result in fast_checks(subject.given, preset=subject.preset) if not result.ok}
    assert results["losses_finite"].startswith("KeyError: 'x' (")
    assert "/method.py, line 17); in hook target_loss of plugin 'method', round 'source', step 0" in results["losses_finite"]


def test_a_module_and_a_method_are_taken_as_well_as_a_name() -> None:
    for given, rounds in ((source_only, ["source", "adapt"]), (load_plugin("source-only"), ["source"])):
        subject = Subject(given)
        assert list(subject.config.rounds) == rounds
        losses.check_losses_finite(Trial(subject))


def test_a_domain_of_several_sets_shrinks_to_whole_images_of_each() -> None:
    words = ["batch=8", "source.sets.a.share=3/4", "source.sets.b.pair=P", "source.sets.c.share=1/8", "target.sets={d: {}, e: {}}"]
    (round,) = shrink(load_config("streets", words)).rounds.values()
    assert count_images(round.source.sets, round.batch) == {"a": 2, "b": 2, "c": 2}
    assert count_images(round.target.sets, round.batch) == {"d": 3, "e": 3}
    assert {own.count for own in (*round.source.sets.values(), *round.target.sets.values())} == {4}


def test_the_published_presets_shrink_to_the_same_few_images() -> None:
    config = shrink(load_config("gta5-cityscapes"), (48, 32))
    (round,) = config.rounds.values()
    assert (round.steps, round.batch, round.source.dataset, round.source.count, round.label_space) == (2, 2, "streets", 4, "streets")
    sizes = [step.size for entry in (round.source, round.target) for step in entry.transform.values() if hasattr(step, "size")]
    assert sizes
    assert all(width <= 48 and height <= 32 for width, height in sizes)
    assert [(entry.count, entry.every, entry.subsets) for entry in round.evaluate.values()] == [(2, 0, ())]
