"""A data set of another package: one record behind an entry point, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udacore.cli import main
from udacore.datasets import Dataset, get_dataset, list_datasets
from udacore.errors import ConfigError, PluginError

RECORD = """
    from pathlib import Path
    import numpy as np
    import attrs
    from udacore.datasets import Dataset, Layout, get_dataset

    def read_ids(path):
        with open(path) as file:
            return np.array([[int(word) for word in line.split()] for line in file], np.int64)

    def find_files(config, root):
        return Layout(root=root, images=root / "photos" / config.split,
                      labels=(root / "ids" / config.split,), kind=read_ids, label_suffixes=(".txt",))

    DATASET = Dataset(find_files=find_files, ids={"road": 1, "sky": 2, "car": 7}, label_space="streets",
                      splits={"train": 3, "val": 2}, hint="ids are numbers in text")
    WRONG = 3
    DRAWN = attrs.evolve(get_dataset("streets"), settings=("image_size",))
    SHORT = Dataset(find_files=find_files, ids={"road": 1}, label_space="streets", splits={"train": 3})
"""

Install = Callable[..., Path]


@pytest.fixture
def town(tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the data set, whose package is installed; the working folder is beside it."""
    entries = {"rainy_town": "rainy_town:DATASET", "rainy_wrong": "rainy_town:WRONG", "rainy_gone": "no_such_module:DATASET"}
    entries["rainy_drawn"] = "rainy_town:DRAWN"
    install("rainy-town", {"rainy_town.py": RECORD}, entries, group="udacore.datasets")
    generator = np.random.default_rng(0)
    root = tmp_path / "town"
    for split, count in (("train", 3), ("val", 2)):
        (root / "photos" / split).mkdir(parents=True)
        (root / "ids" / split).mkdir(parents=True)
        for index in range(count):
            picture = generator.integers(0, 256, (32, 64, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / "photos" / split / f"{index}.png")
            ids = generator.choice([1, 2, 7], (32, 64))
            np.savetxt(root / "ids" / split / f"{index}.txt", ids, fmt="%d")
    monkeypatch.chdir(tmp_path)
    return root


def test_names_are_listed_and_the_record_is_loaded(town: Path) -> None:
    assert set(list_datasets()) >= {"gta5", "synthia", "cityscapes", "foggy_cityscapes", "folder", "streets", "rainy_town"}
    assert get_dataset("rainy_town").expected("val") == 2
    assert get_dataset("rainy_town").highest_id == 7


def test_every_built_in_record_is_found_by_its_entry_point() -> None:
    for name in ("gta5", "synthia", "cityscapes", "foggy_cityscapes", "folder", "streets"):
        assert isinstance(get_dataset(name), Dataset)


def test_images_that_a_package_draws_are_checked_and_their_settings_belong_to_the_protocol(
    town: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--dataset", "rainy_drawn"]) == 0, capsys.readouterr().err
    assert "train, image_size (" in capsys.readouterr().out
    words = ["rounds.source.steps=1", "batch=2", "tensorboard=false", "device=cpu", "threads=1", "workers=0", "name=drawn"]
    sets = [f"{entry}.{word}" for entry in ("source", "evaluate.target") for word in ("dataset=rainy_drawn", "count=2", "image_size=[64,32]")]
    assert main(["run", "streets", "evaluate.source=null", *sets, *words]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "dataset rainy_drawn, domain target, split val, image_size [64, 32], images 2" in shown


def test_it_is_checked_and_trained_on_like_any_other(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--dataset", "rainy_town", "--root", str(town), "--full"]) == 0
    shown = capsys.readouterr().out
    assert "  images  3\n" in shown
    assert "road" in shown
    words = [
        "run", "streets", "source.dataset=rainy_town", f"source.root={town}", "evaluate.source=null",
        "evaluate.target.dataset=rainy_town", f"evaluate.target.root={town}", "evaluate.target.size=[64,32]",
        "rounds.source.steps=2", "batch=2", "tensorboard=false", "device=cpu", "threads=1", "workers=1", "name=rainy",
    ]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    assert "dataset rainy_town" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 x\n", "is broken or no image (invalid literal for int() with base 10: 'x')"),
        ("1 2\n", "1.txt is 2 x 1"),
        ("\n".join([" ".join(["9"] * 64)] * 32) + "\n", "1.txt holds 9, ids go from 0 to 7; ids are numbers in text"),
        ("", "must give integers H W, got int64 (0,)"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    text: str, said: str, town: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (town / "ids" / "train" / "1.txt").write_text(text)
    assert main(["data", "check", "--dataset", "rainy_town", "--root", str(town), "--full"]) == 3
    shown = capsys.readouterr()
    assert said in shown.out
    assert "Traceback" not in shown.err


def test_a_name_that_is_none_and_a_record_that_is_none_are_one_line(town: Path) -> None:
    with pytest.raises(ConfigError, match="there is no data set 'rainy_twon'; did you mean 'rainy_town'"):
        get_dataset("rainy_twon")
    with pytest.raises(PluginError, match=r"data set 'rainy_wrong' \(rainy_town:WRONG\): must be a udacore.datasets.Dataset, got int"):
        get_dataset("rainy_wrong")
    with pytest.raises(PluginError, match=r"data set 'rainy_gone' .* cannot be loaded: No module named 'no_such_module'"):
        get_dataset("rainy_gone")


def test_a_record_has_one_way_to_its_images() -> None:
    with pytest.raises(ValueError, match="either find_files or open"):
        Dataset()
