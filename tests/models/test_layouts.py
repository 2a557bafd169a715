from pathlib import Path
from typing import Any

import pytest
import torch

from udacore.config.schema import ModelConfig
from udacore.errors import ConfigError
from udacore.models import Layout, build_segmenter, convert_checkpoint, join_files, load_state, recognize_layout

PARTS = Layout(
    name="parts",
    parts={"feature_extractor": {r"backbone\.": "backbone."}, "classifier": {r"conv2d_list\.": "classifier.conv2d_list."}},
    drop=(r"(module\.)?layer5\.",),
    ignore=("iteration", "optimizer_*"),
)
PLAIN = Layout(
    name="plain",
    parts={"": {r"layer5\.": "classifier.", r"(conv1|bn1|layer[1-4])\.": r"backbone.\1."}},
)
MODEL = ModelConfig(name="small")


def released(prefix: str = "") -> dict[str, Any]:
    state = build_segmenter(MODEL, 3).state_dict()
    return {
        "iteration": 40000,
        "feature_extractor": {prefix + key: value for key, value in state.items() if key.startswith("backbone.")},
        "classifier": {prefix + key.removeprefix("classifier."): value for key, value in state.items() if key.startswith("classifier.")},
        "optimizer_fea": {"state": {}, "param_groups": []},
    }


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_release_in_parts_fills_our_segmenter(tmp_path: Path, prefix: str) -> None:
    checkpoint = released(prefix)
    checkpoint["feature_extractor"]["module.layer5.weight"] = torch.zeros(1)
    torch.save(checkpoint, tmp_path / "release.pth")
    model = build_segmenter(MODEL, 3)
    loaded = load_state(model, convert_checkpoint(tmp_path / "release.pth", PARTS), where="release.pth")
    assert (loaded.missing, loaded.unexpected) == ((), ())
    assert torch.equal(model.state_dict()["backbone.conv1.weight"], checkpoint["feature_extractor"][f"{prefix}backbone.conv1.weight"])
    assert recognize_layout(tmp_path / "release.pth", [PLAIN, PARTS]) is PARTS


def test_a_plain_state_dict_is_renamed_by_the_first_rule_that_fits() -> None:
    keys = ("conv1.weight", "layer3.0.bn1.bias", "layer5.conv2d_list.3.bias")
    state = convert_checkpoint({key: torch.zeros(number) for number, key in enumerate(keys)}, PLAIN)
    assert {key: len(value) for key, value in state.items()} == {
        "backbone.conv1.weight": 0,
        "backbone.layer3.0.bn1.bias": 1,
        "classifier.conv2d_list.3.bias": 2,
    }


def test_the_mark_of_distributed_training_stays_unless_all_keys_have_it() -> None:
    checkpoint = released("module.")
    checkpoint["classifier"]["conv2d_list.9.bias"] = torch.zeros(3)
    with pytest.raises(ConfigError, match=r"does not know classifier\.module\.conv2d_list\.0\.weight, .* and 3 more"):
        convert_checkpoint(checkpoint, PARTS)


def test_what_a_layout_does_not_know_is_listed() -> None:
    checkpoint = released()
    checkpoint["feature_extractor"]["head.weight"] = torch.zeros(1)
    with pytest.raises(ConfigError, match=r"layout 'parts' does not know feature_extractor\.head\.weight"):
        convert_checkpoint(checkpoint, PARTS)
    with pytest.raises(ConfigError, match="does not know model_D"):
        convert_checkpoint({**released(), "model_D": {}}, PARTS)
    with pytest.raises(ConfigError, match=r"does not know classifier\.conv2d_list\.0\.bias"):
        convert_checkpoint({**released(), "classifier": {"conv2d_list.0.bias": 3}}, PARTS)


def test_what_a_layout_needs_is_named() -> None:
    checkpoint = released()
    checkpoint["feature_extracter"] = checkpoint.pop("feature_extractor")
    with pytest.raises(ConfigError, match="expects the entry 'feature_extractor'; did you mean 'feature_extracter'"):
        convert_checkpoint(checkpoint, PARTS)
    with pytest.raises(ConfigError, match="expects a state_dict under 'classifier', got int"):
        convert_checkpoint({**released(), "classifier": 3}, PARTS)
    with pytest.raises(ConfigError, match="finds no weights"):
        convert_checkpoint({"feature_extractor": {}, "classifier": {}}, PARTS)


def test_optional_parts_may_be_lacking() -> None:
    layout = Layout(name="x", parts={**PARTS.parts, "model_D": {"": "discriminator."}}, optional=("model_D",), ignore=PARTS.ignore)
    assert not any(key.startswith("discriminator.") for key in convert_checkpoint(released(), layout))
    state = convert_checkpoint({**released(), "model_D": {"module.cls1.bias": torch.zeros(3)}}, layout)
    assert state["discriminator.cls1.bias"].shape == (3,)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"gives two entries the name 'head\.bias'"):
        convert_checkpoint({"a.bias": torch.zeros(1), "b.bias": torch.zeros(1)}, Layout(name="x", parts={"": {r"[ab]\.": "head."}}))


def test_an_unknown_release_is_refused_with_each_layouts_reason() -> None:
    with pytest.raises(ConfigError) as error:
        recognize_layout({"generator": {}}, [PARTS, PLAIN])
    assert "layout 'parts' expects the entry 'feature_extractor'" in str(error.value)
    assert "layout 'plain' does not know generator" in str(error.value)
    assert "\n" not in str(error.value)


def test_classes_in_an_order_of_the_file_come_into_ours() -> None:
    layout = Layout(
        name="own-order", parts={"": {r"out\.": "classifier.", r"D\.": "discriminator."}},
        class_orders={3: (2, 0, 1)}, class_axes={r"classifier\.": 0, r"discriminator\.": 1},
    )  # fmt: skip
    rows = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    state = convert_checkpoint({"out.weight": rows, "out.bias": rows[:, 0], "D.weight": rows.T}, layout)
    assert state["classifier.weight"].tolist() == [[2, 2], [0, 0], [1, 1]]
    assert state["classifier.bias"].tolist() == [2, 0, 1]
    assert state["discriminator.weight"].tolist() == [[2, 0, 1], [2, 0, 1]]
    with pytest.raises(ConfigError, match=r"'own-order' knows the order of 3 classes; 'classifier.weight' has 2"):
        convert_checkpoint({"out.weight": rows[:2]}, layout)


def test_files_of_one_release_become_entries_by_their_keys() -> None:
    layout = Layout(name="pair", parts={"encoder": {r"conv\.": "backbone."}, "decoder": {r"out\.": "classifier."}})
    encoder, decoder = {"module.conv.weight": torch.zeros(1)}, {"out.bias": torch.ones(1)}
    joined = join_files({"b.pth": decoder, "a.pth": encoder}, [PARTS, layout])
    assert joined == {"encoder": encoder, "decoder": decoder}
    assert set(convert_checkpoint(joined, layout)) == {"backbone.weight", "classifier.bias"}
    assert join_files({"a.pth": encoder}, [layout]) is encoder
    for wrong in ({"a": encoder, "b": encoder}, {"a": encoder, "b": {"other": torch.zeros(1)}}, {"a": encoder, "b": {"epoch": 3}}):
        with pytest.raises(ConfigError, match="a, b: no known layout has one entry for each of these files"):
            join_files(wrong, [PARTS, layout])
    with pytest.raises(ConfigError, match=r"it is the 'encoder' of layout 'pair' alone; give `uda import` the file of each entry \(encoder, decoder\)"):
        recognize_layout(encoder, [layout])
