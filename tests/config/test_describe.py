from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from udacore.config.convert import field_names
from udacore.config.describe import common, describe_config, difference, settings_table, to_flow
from udacore.config.files import list_presets, merge, parse_yaml
from udacore.config.resolve import load_config
from udacore.config.schema import Config, RoundConfig
from udacore.config.transforms import TRANSFORMS
from udacore.options import HELP, MethodSettings, option

ROUNDS = """
steps: 10
source: {transform: {flip: {}, grey: {}}}
evaluate: {target: {count: 3}}
rounds:
  one: {method: {weight: 2}}
  two:
    source: {transform: {flip: null, resize: {size: [4, 2]}, flip-2: true}, label_map: {7: road}}
    parts: {critic: {lr: 1e-4, groups: {'a\\.b': 10, c: {lr_factor: 2, momentum: 0}}}}
    evaluate: {target: {every: 5}, source: {}}
"""


@attrs.frozen(kw_only=True)
class Settings(MethodSettings):
    weight: float = option(0.1, "weight of the loss", at_least=0)
    size: tuple[int, int] = option(help="width and height")


@attrs.frozen(kw_only=True)
class OptionalSettings(MethodSettings):
    weight: float = option(0.1, "weight of the loss", at_least=0)


@pytest.mark.parametrize("preset", list_presets("udacore"))
def test_a_described_preset_loads_to_an_equal_configuration(preset: str, tmp_path: Path) -> None:
    config = load_config(preset)
    (tmp_path / "described.yaml").write_text(describe_config(config))
    assert load_config(str(tmp_path / "described.yaml")) == config


def test_rounds_that_differ_in_everything_are_described_exactly(tmp_path: Path) -> None:
    (tmp_path / "rounds.yaml").write_text(ROUNDS)
    config = load_config(str(tmp_path / "rounds.yaml"), method_settings=OptionalSettings)
    text = describe_config(config)
    (tmp_path / "described.yaml").write_text(text)
    again = load_config(str(tmp_path / "described.yaml"), method_settings=OptionalSettings)
    assert again == config
    assert list(again.rounds["two"].source.transform) == ["grey", "resize", "flip-2"]
    assert "# weight of the loss (a number; default 0.1)" in text


def test_every_key_is_explained() -> None:
    text = describe_config(load_config("streets"))
    comments = " ".join(line.strip().lstrip("#").strip() for line in text.splitlines() if line.strip().startswith("#"))
    for cls in (Config, RoundConfig):
        for name, field in field_names(cls).items():
            assert field.metadata[HELP] in comments or name == "rounds"
            assert name in parse_yaml(text, "described")


@pytest.mark.parametrize(
    "values",
    [
        [{"a": 1, "b": {"x": 1}}, {"a": 2, "b": {"x": 1}}],
        [{"b": {"x": 1, "y": 2}}, {"b": {"y": 2, "x": 1}}],
        [{"b": {"x": 1}}, {"b": {"x": 1, "y": 2}}, {"b": {}}],
        [{"b": None}, {"b": {"x": 1}}],
        [{"b": {"x": {"p": 1, "q": 2}}}, {"b": {"x": {"q": 2, "p": 1}}}],
    ],
)
def test_what_is_common_and_what_differs_make_the_whole(values: list[Any]) -> None:
    shared = common(values)
    for value in values:
        again = merge(shared, difference(shared, value))
        assert str(again) == str(value)  # the order of the keys too


def test_a_table_lists_every_setting_with_its_type_and_default() -> None:
    weight, size = settings_table(Settings)
    assert (weight.name, weight.type, weight.default, weight.help) == ("weight", "a number", "0.1", "weight of the loss")
    assert (size.type, size.default) == ("[whole number, whole number]", "required")
    names = [row.name for row in settings_table(RoundConfig)]
    assert {"parts.NAME.schedule.from", "evaluate.NAME.size", "source.transform.resize.size", "target.labels", "source.list"} <= set(names)
    assert len(names) == len(set(names))


def test_every_setting_has_a_help_text() -> None:
    for cls in (Config, RoundConfig, *TRANSFORMS.values()):
        assert all(row.help for row in settings_table(cls))


@pytest.mark.parametrize("value", ["off", "1e-4", "no", "a: b", "", "null", None, True, 1e-5, [1, {"a": "#b"}], "2026-11-20", "ä" * 200])
def test_values_on_one_line_read_back_to_themselves(value: Any) -> None:
    text = to_flow(value)
    assert "\n" not in text
    assert parse_yaml(f"key: {text}", "here") == {"key": value}
