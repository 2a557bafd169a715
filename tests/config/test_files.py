from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from udacore.config.files import find_preset, list_presets, merge, override, parse_override, parse_yaml, read_config, read_file
from udacore.errors import ConfigError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5e3", 1500.0),
        ("off", "off"),
        ("no", "no"),
        ("true", True),
        ("012", 12),
        ("0x1f", 31),
        ("2026-11-20", "2026-11-20"),
        ("12:30", "12:30"),
        ("~", None),
        ("", None),
        (".inf", float("inf")),
        ("'1e-4'", "1e-4"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    result = parse_yaml(f"key: {text}", "here")["key"]
    assert result == value
    assert type(result) is type(value)


def test_anchors_and_merge_keys_work() -> None:
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", "here")["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ", line 3, column 1: the key 'a' is given twice"),
        ("a:\n  b: {c: 1, c: 2}\n", ", line 2, column 13: the key 'c' is given twice"),
        ("a: [1, 2\nb: 3\n", ", line 2, column 2: "),
        ("a:\n\t- 1\n", ", line 2, column 1: found character"),
        ("a: !!python/object:os.system x\n", ", line 1, column 4: could not determine a constructor"),
        ("? [1]\n: 2\n", ", line 1, column 3: a key must be a word or a number"),
        ("a: !!int ten\n", ": broken YAML: "),
        ("- 1\n", ": must be a mapping of settings, got [1]"),
        ("extends: [a]\n", ": extends: must be a file or the name of a preset, got ['a']"),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path / "broken.yaml", text)
    with pytest.raises(ConfigError) as caught:
        read_file(path, ())
    assert str(caught.value).startswith(path + words)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_reported_by_name(tmp_path: Path) -> None:
    path = tmp_path / "image.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"image\.yaml: cannot be read"):
        read_file(str(path), ())


def test_a_missing_file_and_an_unknown_preset_are_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"the configuration file nowhere\.yaml does not exist"):
        read_file("nowhere.yaml", ("udacore",))
    with pytest.raises(ConfigError, match=r"no preset and no file is called 'gta-cityscapes'; did you mean 'gta5-cityscapes'"):
        read_file("gta-cityscapes", ("udacore",))


def test_extends_is_relative_to_the_file_and_merges_by_key(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base/a.yaml", "steps: 5\nsource: {root: x, count: 3}\nrounds: {one: {}, two: {steps: 1}}\n")
    write(tmp_path / "base/b.yaml", "extends: a.yaml\nbatch: 2\n")
    path = write(tmp_path / "c.yaml", "extends: base/b.yaml\nsource: {count: 4}\nrounds: {one: null, three: {}}\n")
    expected = {"steps": 5, "batch": 2, "source": {"root": "x", "count": 4}, "rounds": {"one": None, "two": {"steps": 1}, "three": {}}}
    assert read_file(path, ()) == expected


def test_extends_takes_a_preset(tmp_path: Path) -> None:
    data = read_file(write(tmp_path / "mine.yaml", "extends: streets\nsteps: 7\n"), ("udacore",))
    assert data["steps"] == 7
    assert data["model"] == {"name": "small"}
    with pytest.raises(ConfigError, match=r"other\.yaml: extends: no preset and no file is called 'street'; did you mean 'streets'"):
        read_file(write(tmp_path / "other.yaml", "extends: street\n"), ("udacore",))


def test_a_circle_of_extends_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: b.yaml\n")
    path = write(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"extend each other in a circle: .*b\.yaml -> .*a\.yaml -> .*b\.yaml"):
        read_file(path, ())


def test_presets_are_found_in_the_first_package_that_has_them() -> None:
    assert "gta5-cityscapes" in list_presets("udacore")
    assert list_presets("udacore.errors") == []
    assert list_presets("no_such_package") == []
    assert find_preset("streets", ("no_such_package", "udacore")).name == "streets.yaml"


def test_merging_replaces_all_but_mappings_and_changes_neither_side() -> None:
    base, over = {"a": {"x": 1, "y": [1, 2]}, "b": 1}, {"a": {"y": [3]}, "b": None, "c": {}}
    assert merge(base, over) == {"a": {"x": 1, "y": [3]}, "b": None, "c": {}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert list(merge({"x": 1, "y": 2}, {"z": 3, "x": 4})) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("rounds.distill.steps=100", ("rounds", "distill", "steps"), 100),
        ("rounds.translate-1=null", ("rounds", "translate-1"), None),
        ("source.transform.resize.size=[64,32]", ("source", "transform", "resize", "size"), [64, 32]),
        ("parts.segmenter.lr=1e-4", ("parts", "segmenter", "lr"), 1e-4),
        ("weights=round source", ("weights",), "round source"),
        ("source.root=/data/a=b", ("source", "root"), "/data/a=b"),
        ("name=", ("name",), None),
    ],
)
def test_overrides_are_a_path_and_a_yaml_value(text: str, keys: tuple[str, ...], value: Any) -> None:
    assert parse_override(text) == (keys, value)


@pytest.mark.parametrize("text", ["steps", "=3", "a..b=1", "a.=1"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no setting; write key=value"):
        parse_override(text)


def test_a_broken_value_names_the_override() -> None:
    with pytest.raises(ConfigError, match=r"the value of 'batch=\[1', line 1, column 3"):
        parse_override("batch=[1")


def test_overrides_are_laid_over_the_file_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "source: {label_map: {7: road}, transform: {flip: true, resize: {size: [4, 2]}}}\n")
    changes = ["source.label_map.7=car", "source.transform.flip.probability=0.1", "source.transform.resize=null", "steps=1", "steps=2"]
    transform = {"flip": {"probability": 0.1}, "resize": None}
    assert read_config(path, changes, ()) == {"source": {"label_map": {7: "car"}, "transform": transform}, "steps": 2}


def test_an_override_leaves_the_data_that_it_is_laid_over() -> None:
    data = {"a": {"b": 1}}
    assert override(data, ("a", "c"), 2) == {"a": {"b": 1, "c": 2}}
    assert data == {"a": {"b": 1}}


def test_a_preset_may_extend_the_one_of_its_name_in_the_next_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "entropy_method" / "presets").mkdir(parents=True)
    (tmp_path / "entropy_method" / "__init__.py").touch()
    write(tmp_path / "entropy_method/presets/streets.yaml", "extends: streets\nsteps: 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = read_file("streets", ("entropy_method", "udacore"))
    assert (data["steps"], data["model"]) == (7, {"name": "small"})
    with pytest.raises(ConfigError, match=r"streets\.yaml: extends: no preset and no file is called 'streets'"):
        read_file("streets", ("entropy_method",))


def test_a_preset_of_the_core_that_extends_the_name_of_the_one_above_it_means_the_core_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "certain_method" / "presets").mkdir(parents=True)
    (tmp_path / "certain_method" / "__init__.py").touch()
    write(tmp_path / "certain_method/presets/streets.yaml", "extends: streets-adapt\nsteps: 7\n")  # which extends streets
    write(tmp_path / "certain_method/presets/a.yaml", "extends: b\n")
    write(tmp_path / "certain_method/presets/b.yaml", "extends: a\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = read_file("streets", ("certain_method", "udacore"))
    assert (data["steps"], data["model"], list(data["rounds"])) == (7, {"name": "small"}, ["source", "adapt"])
    with pytest.raises(ConfigError, match="in a circle"):
        read_file("a", ("certain_method", "udacore"))


def test_a_preset_of_the_core_knows_no_preset_of_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calm_method" / "presets").mkdir(parents=True)
    (tmp_path / "calm_method" / "__init__.py").touch()
    write(tmp_path / "calm_method/presets/streets.yaml", "extends: streets-adapt\nsteps: 7\n")
    mine = write(tmp_path / "mine.yaml", "extends: streets-adapt\n")  # the core's, which extends streets: the core's too
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_file(str(mine), ("calm_method", "udacore")) == read_file("streets-adapt", ("udacore",))
