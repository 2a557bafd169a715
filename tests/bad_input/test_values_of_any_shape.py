"""Values of any shape, in every place of a configuration: accepted, or refused in one
line; never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udacore.cli import main
from udacore.config.convert import field_names, structure
from udacore.config.dump import to_plain, to_yaml
from udacore.config.resolve import load_config
from udacore.config.schema import Config, EvaluationConfig, PartConfig, PixelConfig, RoundConfig, SamplerConfig, SourceConfig, TargetConfig
from udacore.config.transforms import TRANSFORMS
from udacore.errors import LONGEST_LINE, ConfigError

Refused = Callable[..., str]
ODD: list[Any] = [
    None, [], {}, "", 1e308, float("inf"), float("-inf"), float("nan"), -0.0, True, 10**20, -(10**400), [[[]]], [[1, 2], [3]], {"a": {"b": 1}},
    {None: 1}, {3: 1}, {"a.b": 1}, {"a[0]": 1}, {"[": None}, "a\0b", "a\nb", "x" * 300, "x" * 5000, "\U0001f600", "\ud800", "\x1b[31m", "~nosuchuser", "%s",
    "~nosuchuser/x.yaml", "{}", "x" * 300 + ".yaml", 0, -1, 10**9,
]  # fmt: skip
CLASSES = {
    "": (Config, RoundConfig), "source": (SourceConfig,), "target": (TargetConfig,), "evaluate.target": (EvaluationConfig,),
    "parts.segmenter": (PartConfig,), "pixels": (PixelConfig,), "source.sampler": (SamplerConfig,),
}  # fmt: skip
PLACES = [f"{place}.{name}".lstrip(".") for place, kinds in CLASSES.items() for kind in kinds for name in field_names(kind)]
PLACES = PLACES[::3]  # what they share is one conversion; each run of the tests takes the same third
PLACES += [f"source.transform.{name}.{field}" for name, kind in TRANSFORMS.items() for field in field_names(kind)]

FULL = os.environ.get("UDACORE_FAULTS") == "full"
SHARE = 6
"""In CI each place meets every sixth value, its neighbours the others; `UDACORE_FAULTS=full` tries all."""


@pytest.mark.parametrize("place", PLACES)
def test_every_setting_takes_or_refuses_every_value_in_a_line(place: str, tmp_path: Path) -> None:
    *above, last = place.split(".")
    number = PLACES.index(place)
    for value in ODD if FULL else ODD[number % SHARE :: SHARE]:
        for prefix in ([], ["rounds", "source"]) if isinstance(value, dict) else ([],):
            data: Any = {last: value}
            for key in reversed([*prefix, *above]):
                data = {key: data}
            try:
                text = to_yaml({"extends": "streets", **data})
            except UnicodeEncodeError:
                continue
            (tmp_path / "odd.yaml").write_text(text, errors="replace")
            try:
                to_plain(load_config(str(tmp_path / "odd.yaml")))
            except ConfigError as error:
                lines = getattr(error, "lines", [str(error)])
                assert max(len(line) for line in lines) <= LONGEST_LINE + 100


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("source.transform={resize_short_side: {range: [90, 60]}}", "the smallest comes first"),
        ("source.transform={blur: {sigma: [2, 1]}}", "the smallest comes first"),
        ("source.transform={zoom: {range: [2, 1]}}", "the smallest comes first"),
        ("source.transform={rotate: {range: [2, 1]}}", "the smallest comes first"),
        ("source.transform={scale: {range: [1.5, 0.5]}}", "the smallest comes first"),
        ("source.transform={scale: {range: [1, .inf]}}", "numbers are finite"),
        ("source.transform={jitter: {contrast: 1e308}}", "at most 100"),
        ("source.transform={crop: {size: [1000000000, 1]}}", "at most 32768"),
        ("source.count=1000000000", "at most 1e+07"),
        ("batch=1000000000", "at most 65536"),
        ("parts.segmenter.lr=.inf", "numbers are finite"),
        ("parts.segmenter.options.weight_decay=[1, 2]", "must be a number, got [1, 2]"),
        ("parts.segmenter.options.momentum=.inf", "numbers are finite"),
        ("parts.segmenter.options={betas: [.nan, 0.9]}", "numbers are finite"),
        ("parts.segmenter.groups={classifier: {weight_decay: [1, 2]}}", "must be a number, got [1, 2]"),
        ("parts.segmenter.groups={classifier: {lr_factor: .inf}}", "numbers are finite"),
        ("seed=0x" + "f" * 32, "64 bits"),
        ('name="a\\0b"', "name: must be text or null"),
        ("folder=~nosuchuser/x", "no home folder"),
        ("label_space=~nosuchuser/x.yaml", "no home folder"),
        ("rounds={source: {null: 1, 3: 1, a.b: 1, 'a[0]': 1}}", "problems"),
    ],
)  # fmt: skip
def test_what_would_fail_at_the_first_step_is_refused(refused: Refused, word: str, said: str) -> None:
    refused(["run", "streets", word, *([] if word.startswith("name") else ["name=bad"])], 2, said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("source.transform.crop.size=[32768,32768] batch=1024", "1024 images of 32768 x 32768 as float32 take 13194139533312 bytes"),
        ("source.transform.resize.size=[32768,32768] batch=1024 --dry-run", "source.transform.resize.size: 1024 images"),
        ("evaluate.target.size=[32768,32768] evaluate.target.batch=1024 evaluate.target.count=1024", "evaluate.target.size: 1024 images"),
        ("workers=1000000000", "at most 1024"),
        ("threads=1000000000", "at most 1024"),
        ("batch=100000", "at most 65536"),
    ],
)  # fmt: skip
def test_what_would_take_all_memory_is_said_before_it_is_taken(refused: Refused, words: str, said: str) -> None:
    refused("run {STREETS} " + words, 2, said)


ODD_WORDS = ["x" * 300, "a\0b", "~nosuchuser", "a\x1b[31m", "\udcff", "-", "/"]


@pytest.mark.parametrize("command", ["predict RUN --out o", "data check", "import --plugin fada", "plugins show", "config"])
def test_words_of_any_shape_end_in_a_line(command: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for word in ODD_WORDS:
        assert main([*command.split(), word]) in (2, 3, 4)
        assert len(capfd.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("command", ["compare", "data make --like gta5", "plugins new", "plugins check", "eval", "import fada"])
def test_nul_in_an_argument_is_refused(refused: Refused, command: str) -> None:
    refused([*command.split(), "a\0b"], 2, "NUL")


def test_miniatures_take_no_home_that_is_not_there(refused: Refused) -> None:
    refused("data make --like gta5 ~nosuchuser/x", 2, "no home folder")


def test_without_a_home_commands_work_or_say_so(refused: Refused, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def no_entry(*_: object) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "UDACORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    refused("run {STREETS} source.sampler.name=class_balanced", 2, "no home folder is known", writes=["runs*"])
    for words in ("config streets", "plugins list", "hooks", "data make --like gta5 m", "data check streets", "plugins new z"):
        assert main(words.split()) == 0


def test_the_advice_at_the_end_is_kept_whatever_was_given(refused: Refused) -> None:
    long = "x" * 300
    message = refused(["config", "streets", f"batch={{{long}: 1, {long}y: 1, {long}z: 1}}"], 2, "must be a whole number")
    assert "more characters" not in message.rpartition("got")[0]
    refused(["config", "streets", f"{long}{long}=1"], 2, "unknown", "possible")


def test_advice_holds_no_control_characters() -> None:
    with pytest.raises(ConfigError, match=r"write \[a.*x1b") as caught:
        structure({"draws": "a\x1b[31m"}, RoundConfig)
    assert "\x1b" not in str(caught.value)


def test_aliases_that_multiply_are_refused_before_they_are_written_out(refused: Refused) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    Path("laughs.yaml").write_text("\n".join(lines) + "\nextends: streets\nseed: *a11\n")
    refused("config laughs.yaml", 2, "more than 100000 values")


def test_a_large_file_is_refused_before_it_is_read(refused: Refused) -> None:
    with Path("large.yaml").open("wb") as file:
        file.truncate(100 * 2**20)
    refused("config large.yaml", 2, "104857600 bytes")
    refused("run streets label_space=large.yaml name=bad", 2, "104857600 bytes")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number"), ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE must be"), ({"WORLD_SIZE": "-1"}, "WORLD_SIZE must be"), ({"LOCAL_RANK": "x"}, "LOCAL_RANK must be"),
        ({"TORCHELASTIC_RESTART_COUNT": "x"}, "TORCHELASTIC_RESTART_COUNT must be"), ({"UDACORE_CACHE": "~nosuchuser"}, "no home folder"),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "ranks count from 0"),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "99999"}, "MASTER_PORT must be a port"),
    ],
)  # fmt: skip
def test_an_environment_of_any_shape(values: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from udacore.data.statistics import cache_folder
    from udacore.engine.machine.torchrun import count_processes, read_number

    for name, value in values.items():
        monkeypatch.setenv(name, value)

    def read_all() -> None:
        count_processes()
        for name in ("LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"):
            read_number(name, 0)
        cache_folder()

    with pytest.raises(ConfigError, match=said):
        read_all()


