"""`plugin/preset` names a preset of an installed method, `package:path` a file inside a package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from udacore.cli import main
from udacore.cli.arguments import read_run
from udacore.config.schema import ModelConfig
from udacore.models import build_segmenter

METHODS = ("bdl", "clp", "fada", "mic", "proca", "pycda")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a plugin file that answers as FADA does, and an importable package of files."""
    monkeypatch.chdir(tmp_path)
    hooks = "build_model, make_pseudo_labels, source_loss, target_loss"
    (tmp_path / "mine.py").write_text(f"import udacore_fada\nfrom udacore_fada import Settings, {hooks}\n")
    package = tmp_path / "lib" / "my_files"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "base.yaml").write_text("extends: streets\nseed: 41\n")
    (package / "own.yaml").write_text("classes: [road, car]\n")
    monkeypatch.syspath_prepend(str(package.parent))
    yield tmp_path
    sys.modules.pop("my_files", None)


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_of_a_method_stands_for_it(method: str, here: Path) -> None:
    found, config = read_run(None, [f"{method}/streets"])
    assert (found.name, config.name) == (method, f"{method}-streets")
    assert list(config.rounds) == list(read_run(method, ["streets"])[1].rounds)


def test_a_file_extends_a_preset_of_a_method(here: Path) -> None:
    Path("mine.yaml").write_text("extends: fada/streets\nseed: 7\n")
    method, config = read_run("./mine.py", ["mine.yaml"])
    expected = read_run("fada", ["streets"])[1]
    assert (method.name, config.seed, list(config.rounds)) == ("mine", 7, list(expected.rounds))
    assert config.rounds["adversarial"].steps == expected.rounds["adversarial"].steps
    assert read_run(None, ["mine.yaml"])[0].name == "fada"
    assert read_run("./mine.py", ["fada/gta5-cityscapes-vgg16"])[1].name == "mine-gta5-cityscapes-vgg16"


def test_a_preset_that_a_method_lacks_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "fada/stretes"]) == 2
    assert capsys.readouterr().err == "error: plugin 'fada' has no preset 'stretes'; did you mean 'streets'?\n"
    assert main(["config", "fado/streets"]) == 2
    assert "no preset and no file is called 'fado/streets'" in capsys.readouterr().err


def test_a_folder_of_the_same_name_does_not_hide_a_preset(here: Path) -> None:
    (here / "fada" / "streets").mkdir(parents=True)
    assert read_run(None, ["fada/streets"])[0].name == "fada"


def test_files_inside_a_package_stand_wherever_a_file_may(here: Path) -> None:
    assert read_run(None, ["my_files:base.yaml"])[1].seed == 41
    Path("mine.yaml").write_text("extends: my_files:base.yaml\nbatch: 3\n")
    assert read_run(None, ["mine.yaml"])[1].seed == 41
    torch.save(build_segmenter(ModelConfig(name="small"), 2).state_dict(), here / "lib/my_files/small.pt")
    short = ["rounds.source.steps=1", "batch=1", "source.count=2", "source.image_size=[64,32]", "evaluate=null", "device=cpu", "workers=0"]
    words = ["label_space=my_files:own.yaml", "rounds.source.weights=my_files:small.pt", "tensorboard=false", "threads=1", "model.name=small"]
    assert main(["run", "my_files:base.yaml", *short, *words, "name=whole"]) == 0
    words[1] = "initial=my_files:small.pt"
    assert main(["run", "my_files:base.yaml", *short, *words, "name=initial"]) == 0


def test_a_package_that_is_not_there_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("label_space=no_such:own.yaml", "rounds.source.weights=no_such:own.pt", "label_space=my_files:../x.yaml"):
        assert main(["run", "streets", word, "name=bad"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "no package 'no_such' can be imported" in line or "without '..'" in line
