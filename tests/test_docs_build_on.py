"""The page on building on a method works: its files train, and any network goes under every method."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

from udacore.cli import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/build-on.md").read_text()
FAQ = (ROOT / "docs/faq.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
(SETTINGS,) = [text for kind, text in BLOCKS if kind == "yaml"]
METHODS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml") if "udacore.plugins" in path.read_text())
METHODS.remove("mic")  # its teacher is made of the network: plugins/mic/tests/test_own_network.py
SMALL = (
    *(f"{entry}.{word}" for entry in ("source", "target", "evaluate.target") for word in ("image_size=[64,32]", "count=4")),
    "tensorboard=false", "device=cpu", "threads=1", "workers=0",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calm_fada.yaml").write_text(SETTINGS)
    return tmp_path


def losses(run: Path) -> set[str]:
    """The names of the losses that a run recorded."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {name.removeprefix("loss/") for row in rows for name in row if name.startswith("loss/")}


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_a_file_of_the_page_trains_with_the_settings_of_the_page(number: int, folder: Path) -> None:
    (folder / "mine.py").write_text(PYTHON[number])
    if "entropy_weight" not in PYTHON[number]:
        (folder / "calm_fada.yaml").write_text(SETTINGS.replace("entropy_weight: 0.003", ""))
    rounds = ("source.steps=1", "source.batch=2", "adversarial.steps=2", "adversarial.batch=2", "distill.steps=1")
    short = (*(f"rounds.{words}" for words in rounds), "log_every=1")
    assert main(["run", "--plugin", "./mine.py", "calm_fada.yaml", "name=mine", "folder=.", *short, *SMALL]) == 0
    found = losses(folder / "mine")
    assert {"adversarial", "discriminator/source", "cross_entropy"} <= found
    assert ("entropy" in found) == ("entropy_weight" in PYTHON[number])


def test_the_page_shows_a_setting_a_network_and_a_forward_of_its_own() -> None:
    assert [re.findall(r"class (\w+)", text) for text in PYTHON] == [["Settings"], ["Backbone"], ["Network"]]


@pytest.mark.parametrize("method", METHODS)
def test_the_network_of_the_questions_goes_under_every_method(method: str, folder: Path) -> None:
    (network,) = [text for text in re.findall(r"```python\n(.*?)```", FAQ, re.DOTALL) if "lraspp" in text]
    hooks = f"from udacore_{method} import Settings, source_loss, target_loss\n"
    (folder / "mine.py").write_text(hooks + network)
    short = ("rounds.source.steps=1", "rounds.adapt.steps=1", "rounds.source.batch=2", "rounds.adapt.batch=2", "evaluate.source=null", "update=joint")
    assert main(["run", "--plugin", "./mine.py", "name=mine", "folder=.", *short, *SMALL]) == 0
    assert "mIoU" in (folder / "mine/log.txt").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_a_network_with_a_forward_of_its_own_trains_under_every_preset_of_the_embedded_domains(method: str, folder: Path) -> None:
    """The last file of the page for each method, its features at half the size of its logits."""
    text = PYTHON[-1].replace("udacore_fada", f"udacore_{method}").replace("features = self.trunk(image)", "features = self.trunk(image)[:, :, ::2, ::2]")
    text = text.replace("logits=self.score(features)", "logits=self.score(nn.functional.interpolate(features, scale_factor=2))")
    text = text.replace("nn.ReLU(), nn.Conv2d", "nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d")  # pycda moves its statistics
    module = importlib.import_module(f"udacore_{method}")
    for hook in {"source_loss", "make_pseudo_labels", "on_round_end"} - set(dir(module)):
        text = text.replace(f", {hook}", "")
    if hasattr(module, "on_round_end"):
        text = text.replace("import Settings,", "import Settings, on_round_end,")
    (folder / "mine.py").write_text(text)
    preset = ROOT / f"plugins/{method}/udacore_{method}/presets/streets.yaml"
    rounds = yaml.safe_load(preset.read_text())["rounds"]
    short = [f"rounds.{name}.{word}" for name in rounds for word in ("steps=1", "batch=2")]
    assert main(["run", "--plugin", "./mine.py", str(preset), "name=mine", "folder=.", "log_every=1", *short, *SMALL]) == 0
    assert len(losses(folder / "mine")) > 1
