from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from udacore.config.convert import convert, misfits, structure
from udacore.config.dump import to_plain, to_yaml
from udacore.config.files import parse_yaml
from udacore.config.problems import describe_type
from udacore.errors import ConfigError
from udacore.options import option


@attrs.frozen(kw_only=True)
class Brush:
    width: int = option(1, "width", at_least=1)
    kind: Literal["flat", "round"] = option("flat", "form")


@attrs.frozen(kw_only=True)
class Wash:
    water: float = option(help="share of water", at_least=0, at_most=1)
    dryness: float = option(0.0, "share of time to dry", below=1)


@attrs.frozen(kw_only=True)
class Picture:
    size: tuple[int, int] = option((4, 3), "width and height", at_least=1)
    from_: int | str = option(0, "begin")
    brush: Brush = option(factory=Brush, help="brush")
    brushes: dict[str, Brush] = option(factory=dict, help="more brushes")
    colours: dict[int, str | int] | None = option(None, "colours")
    strokes: dict[str, Any] = option(factory=dict, help="strokes in order", keyed={"brush": Brush, "wash": Wash})
    dry: bool = option(False, "dry first")
    low: float = option(0.0, "low end")
    high: float = option(1.0, "high end")

    @high.validator
    def _check_order(self, attribute: attrs.Attribute[float], value: float) -> None:
        if value < self.low:
            raise ValueError("must not be below low")


def problem_of(value: Any, kind: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        structure(value, kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, float, 3.0),
        ("1e-4", float, 1e-4),
        ("1_000", float, 1000.0),
        (1e3, int, 1000),
        ("1e3", int, 1000),
        ("12345678901234567890", int, 12345678901234567890),
        (True, bool, True),
        (None, int | None, None),
        ("20 epochs", int | str, "20 epochs"),
        ("100", int | str, 100),
        ("1e-4", float | dict[str, Any], 1e-4),
        ([1, 2.0], tuple[int, ...], (1, 2)),
        ([0.5, 2], tuple[float, float], (0.5, 2.0)),
        ({"7": "road", 8: 1}, dict[int, str | int], {7: "road", 8: 1}),
        ({"a": 1, "b": None}, dict[str, int], {"a": 1}),
        ({"a": [1]}, Any, {"a": [1]}),
    ],
)
def test_casts_that_lose_nothing_are_made(value: Any, kind: Any, expected: Any) -> None:
    result = structure(value, kind)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("false", bool, "must be true or false, got 'false'; write true or false, without quotes"),
        (0, bool, "must be true or false, got 0"),
        (3.7, int, "must be a whole number, got 3.7"),
        ("3.7", int, "must be a whole number, got '3.7'"),
        (True, int, "must be a whole number, got true"),
        (True, float, "must be a number, got true"),
        (float("nan"), float, "must be a number, got nan"),
        ("nan", float, "must be a number, got 'nan'"),
        ("ten", float, "must be a number, got 'ten'"),
        (7, str, "must be text, got 7; write it in quotes"),
        (None, str, "must be text, got null"),
        ("flut", Literal["flat", "round"], "must be flat or round, got 'flut'; did you mean 'flat'?"),
        (False, Literal["off", "bf16"], "must be off or bf16, got false"),
        ([1], tuple[int, int], "must be [whole number, whole number], got [1] with 1 entries"),
        (5, tuple[int, ...], "must be a list, each a whole number, got 5; write [5]"),
        (3.5, int | str, "must be a whole number or text, got 3.5"),
        ({"x": "y"}, float | dict[str, float], "x: must be a number, got 'y'"),
        ({"road": 1}, dict[int, int], "road: the key must be a whole number, got 'road'"),
        ([1], dict[str, int], "must be a mapping to a whole number, got [1]"),
        ("wide", Brush, "must be a mapping with any of: width, kind; got 'wide'"),
    ],
)
def test_casts_that_lose_something_are_refused(value: Any, kind: Any, words: str) -> None:
    assert problem_of(value, kind) == words


def test_all_problems_of_nested_settings_are_told_at_once() -> None:
    given = {
        "size": [0, 3],
        "form_": 3,
        "brush": {"width": "wide", "kid": "flat"},
        "brushes": {"fine": {"width": 0}},
        "strokes": {"wash-2": {}, "blot": {}, "brush": 3},
        "dry": "false",
    }
    lines = problem_of(given, Picture).splitlines()
    assert lines[0] == "9 problems:"
    assert set(lines[1:]) == {
        "  form_: unknown; did you mean 'from'?",
        "  size: must be at least 1, got 0",
        "  brush.kid: unknown; did you mean 'kind'?",
        "  brush.width: must be a whole number, got 'wide'",
        "  brushes.fine.width: must be at least 1, got 0",
        "  strokes.wash-2.water: is required: a number",
        "  strokes.blot: unknown; possible: brush, wash",
        "  strokes.brush: must be a mapping with any of: width, kind; got 3",
        "  dry: must be true or false, got 'false'; write true or false, without quotes",
    }


def test_keyed_entries_keep_their_order_and_null_removes_one() -> None:
    picture = structure({"strokes": {"wash": {"water": 0.5}, "brush": True, "brush-2": {"width": 3}, "wash-old": None}}, Picture)
    assert list(picture.strokes.items()) == [("wash", Wash(water=0.5)), ("brush", Brush()), ("brush-2", Brush(width=3))]


def test_names_are_written_without_a_trailing_underscore() -> None:
    assert structure({"from": "2 epochs"}, Picture).from_ == "2 epochs"
    assert "from_: unknown" in problem_of({"from_": 1}, Picture)


def test_null_brings_back_the_default_where_it_is_no_value() -> None:
    assert structure({"size": None, "brush": None, "colours": None}, Picture) == Picture()
    assert problem_of({"water": None}, Wash) == "water: is required: a number"


def test_a_validator_that_looks_at_other_fields_is_a_problem_of_the_whole() -> None:
    assert problem_of({"brush": Brush(), "low": 2.0}, Picture) == "must not be below low"


def test_one_problem_is_one_line_that_begins_with_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        structure({"dry": 1}, Picture, where="my.yaml")
    assert str(caught.value) == "my.yaml: dry: must be true or false, got 1"


def test_a_type_that_no_file_can_hold_is_the_programmers_fault() -> None:
    with pytest.raises(TypeError, match="cannot have the type"):
        convert(1, set[int], "colours", [])


class Tone(Enum):
    WARM = "warm"
    NUMBER = 3


@attrs.frozen(kw_only=True)
class Toned:
    tone: Tone = Tone.WARM
    tones: dict[str, tuple[Tone, ...]] = attrs.field(factory=lambda: {"x": (Tone.NUMBER,)})
    maybe: Tone | None = None


def test_an_enum_is_written_by_its_values() -> None:
    assert structure({"tone": 3, "maybe": "warm"}, Toned) == Toned(tone=Tone.NUMBER, maybe=Tone.WARM)
    assert structure(parse_yaml(to_yaml(to_plain(Toned())), ""), Toned) == Toned()
    with pytest.raises(ConfigError, match=r"tone: must be warm or 3, got 'wram'; did you mean 'warm'\?"):
        structure({"tone": "wram"}, Toned)


@attrs.frozen(kw_only=True)
class Unfit:
    fine: Toned | None = None
    sizes: tuple[list[int], ...] = ()
    inner: dict[str, Path] = attrs.field(factory=dict)


def test_types_that_no_file_can_hold_are_named() -> None:
    assert list(misfits(Toned)) == []
    assert list(misfits(Picture)) == []
    possible = "; possible: bool, int, float, str, None, Literal, enums, tuple[X, ...], dict[str, X], attrs classes, unions of these"
    assert list(misfits(Unfit)) == [f"setting sizes has the type list[int]{possible}", f"setting inner has the type Path{possible}"]
    assert list(misfits(attrs.make_class("Bare", {"tone": attrs.field(default=1)}))) == ["setting tone has no type; write tone: TYPE = option(...)"]
    (said,) = misfits(attrs.make_class("Gone", {"tone": attrs.field(default=1, type="Nowhere")}))
    assert said == "the types of Gone cannot be read: name 'Nowhere' is not defined"


def test_types_are_described_in_words() -> None:
    assert describe_type(int | str | None) == "a whole number or text or null"
    assert describe_type(dict[str, tuple[float, ...]]) == "a mapping to a list, each a number"


def test_a_bound_may_be_left_out_of_the_range() -> None:
    assert structure({"water": 1, "dryness": 0.99}, Wash).dryness == 0.99
    assert problem_of({"water": 1, "dryness": 1}, Wash) == "dryness: must be below 1, got 1.0"
