"""The files that a method's authors released, key by key: from the layouts that the plugins ship, and
lists of the authors' keys.

The lists were taken from the authors' networks; reference vectors of a plugin use them too. Each key goes
through the layout while the page is made, and one that the layout does not know is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs
import torch
from sphinx.pycode import ModuleAnalyzer
from uda_markdown import to_markdown

from udacore.methods.discovery import list_plugins, load_plugin
from udacore.models.layouts import Layout, convert_checkpoint

ROOT = Path(__file__).resolve().parents[2]
_RESNET, _VGG = "DeepLab-V2 on ResNet-101", "DeepLab-V2 on VGG-16"
LISTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "bdl-deeplab": {f"{_RESNET}, 19 classes": {"": "bdl/layout_deeplab"}},
    "bdl-fcn8s": {"FCN-8s on VGG-16, 19 classes": {"": "bdl/layout_fcn8s"}},
    "clp-weights": {
        f"{_RESNET}, 19 classes": {"weights.": "clp/layout"},
        f"{_RESNET}, 16 classes": {"weights.": "clp/layout_16"},
        f"{_RESNET}, domain-specific batch norm": {"weights.": "clp/layout_domain_bn"},
    },
    "clp-resume": {f"{_RESNET} with discriminator, 19 classes": {"model_state_dict.": "clp/layout", "model_state_dict_D.": "clp/layout_discriminator"}},
    "fada": {
        f"{_RESNET}, trained batch norm, 19 classes": {"": "fada/layout_resnet101_bn_k19"},
        f"{_RESNET}, frozen batch norm, 19 classes": {"": "fada/layout_resnet101_frozen_bn_k19"},
        f"{_VGG}, 19 classes": {"": "fada/layout_vgg16_k19"},
    },
    "mic": {
        "DAFormer on MiT-B5, 19 classes": {"state_dict.": "mic/layout_net_daformer_b5_k19"},
        "HRDA and MIC on MiT-B5, 19 classes": {"state_dict.": "mic/layout_net_hrda_b5_k19"},
        "DeepLab-V2 on ResNet-101 v1c, 19 classes": {"state_dict.": "mic/layout_net_deeplabv2_k19"},
        "HRDA and MIC with DeepLab-V2, 19 classes": {"state_dict.": "mic/layout_net_hrda_deeplabv2_k19"},
    },
    "mic-weights": {"DAFormer on MiT-B5, 19 classes": {"": "mic/layout_net_daformer_b5_k19"}},
    "proca": {
        f"{_RESNET}, trained batch norm, 19 classes": {"": "proca/layout_resnet101_19"},
        f"{_RESNET}, frozen batch norm, 19 classes": {"": "proca/layout_resnet101_frozen_bn_19"},
        f"{_VGG}, 16 classes": {"": "proca/layout_vgg16_16"},
    },
    "pycda": {
        "PSPNet on ResNet-101, 19 classes": {"": "pycda/layout.resnet101_ppm"},
        "PSPNet on ResNet-18, 19 classes": {"": "pycda/layout.resnet18_ppm"},
    },
    "pycda-whole": {"PSPNet on ResNet-101, 19 classes": {"": "pycda/layout.resnet101_ppm"}},
}
"""Name of a layout -> what a file holds -> the entry that a list belongs to, with a point, or "" where its
keys begin with the entry -> the list."""


@attrs.frozen
class Shipped:
    """A layout, the plugin that ships it, and what the plugin says of it."""

    layout: Layout
    plugin: str
    text: str


def shipped_layouts() -> dict[str, Shipped]:
    """The layouts of all installed methods, by name."""
    found = {}
    for plugin in list_plugins():
        layouts = getattr(load_plugin(plugin.name).module, "LAYOUTS", ())
        if layouts:
            module = f"{plugin.module.partition(':')[0]}.checkpoints"
            texts = {key[1]: " ".join(text) for key, text in ModuleAnalyzer.for_module(module).find_attr_docs().items() if not key[0]}
            holder = __import__(module, fromlist=["LAYOUTS"])
            names = {id(value): texts.get(name, "") for name, value in vars(holder).items() if isinstance(value, Layout)}
            found |= {layout.name: Shipped(layout, plugin.name, names[id(layout)].strip()) for layout in layouts}
    return found


def render_layout(name: str) -> str:
    """The page of a layout below its title: entries, rules, what is left out, and all keys."""
    shipped = shipped_layouts()[name]
    layout = shipped.layout
    lines = [to_markdown(shipped.text), f"Shipped by `{shipped.plugin}`. What becomes of a key, the first rule that fits:", _rules(layout), _rest(layout)]
    for title, lists in LISTS[name].items():
        keys = {f"{entry}{key}": tuple(shape) for entry, path in lists.items() for key, shape, _ in read_list(path)}
        rows = list(convert(layout, keys))
        lines += [f"## {title}", f"{len(rows)} tensors. Numbers of blocks are drawn together; a key stands after its entry.", _table(fold(rows))]
    return "\n\n".join(line for line in lines if line)


def read_list(path: str) -> list[tuple[str, list[int], str]]:
    """Keys with shapes and dtypes, in the order of the authors' file."""
    plugin, _, name = path.partition("/")
    found: list[tuple[str, list[int], str]] = json.loads((ROOT / "plugins" / plugin / "tests" / "golden" / f"{name}.json").read_text())
    return found


def convert(layout: Layout, keys: Mapping[str, tuple[int, ...]]) -> Iterable[tuple[str, str, tuple[int, ...]]]:
    """Key in the file, ours, and shape. Raises ConfigError for a key that the layout does not know."""
    for key, shape in keys.items():
        entry = next((each for each in layout.parts if each and key.startswith(f"{each}.")), "")
        own = {key.removeprefix(f"{entry}.") if entry else key: torch.empty(shape)} if shape != () else {key.removeprefix(f"{entry}."): torch.tensor(0)}
        whole = {each: own if each == entry else {} for each in layout.parts} if entry else own
        (ours,) = convert_checkpoint(whole, attrs.evolve(layout, class_orders={}, class_axes={}))
        yield key, ours, shape


def fold(rows: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[tuple[str, str, str]]:
    """Rows whose keys differ in the numbers of blocks alone, and whose shapes agree, as one."""
    found: dict[tuple[str, str, tuple[int, ...]], list[tuple[str, str]]] = {}
    for theirs, ours, shape in rows:
        forms = [re.sub(r"\.\d+(?=\.)", ".#", key) for key in (theirs, ours)]
        found.setdefault((forms[0], forms[1], shape), []).append((theirs, ours))
    return [(_join(a for a, _ in keys), _join(b for _, b in keys), " x ".join(map(str, shape)) or "a number") for (*_, shape), keys in found.items()]


def _join(keys: Iterable[str]) -> str:
    """`layer3.0.conv1`, `layer3.1.conv1` as `layer3.{0,1}.conv1`; a row of more than
    two numbers as `{0..22}`."""
    columns = [list(dict.fromkeys(parts)) for parts in zip(*(key.split(".") for key in keys), strict=True)]
    return ".".join(column[0] if len(column) == 1 else _numbers(column) for column in columns)


def _numbers(words: list[str]) -> str:
    numbers = [int(word) for word in words]
    consecutive = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{{{numbers[0]}..{numbers[-1]}}}" if consecutive else f"{{{','.join(words)}}}"


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = ["| key in the file | key here | shape |", "| --- | --- | --- |", *(f"| `{a}` | `{b}` | {shape} |" for a, b, shape in rows)]
    return "\n".join(["::::{container} keys", *lines, "::::"])


def _rules(layout: Layout) -> str:
    rows = [(entry or "the file itself", before, after) for entry, rules in layout.parts.items() for before, after in rules.items()]
    cells = [f"| {f'`{entry}`' if entry in layout.parts else entry} | {_code(before)} | {_code(after)} |" for entry, before, after in rows]
    return "\n".join(["| entry of the file | beginning of a key, as a regular expression | becomes |", "| --- | --- | --- |", *cells])


def _code(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`" if text else "(nothing)"


def _rest(layout: Layout) -> str:
    told = []
    if layout.optional:
        told.append(f"A file may lack {_listed(layout.optional)}.")
    if layout.ignore:
        told.append(f"Not converted: the entries {_listed(layout.ignore)}.")
    if layout.drop:
        told.append(f"Left out: keys that begin with {_listed(layout.drop)}.")
    for count, order in layout.class_orders.items():
        told.append(f"The {count} classes have an order of their own in the file; ours are its numbers {', '.join(map(str, order))}.")
    told.append("`module.` before all keys of an entry, the mark of distributed training, is taken off.")
    return " ".join(told)


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(_code, words))
