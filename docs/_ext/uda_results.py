"""Figures on the embedded domains, read from the file that the benchmark writes: none is copied by hand."""

from __future__ import annotations

import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "RESULTS.md"
PICKED = ("source-only", "oracle")
TITLES = {
    "source-only": "source-only",
    "adabn": "AdaBN",
    "clp": "PLCA (`clp`)",
    "pycda": "PyCDA (`pycda`)",
    "fada": "FADA (`fada`)",
    "proca": "ProCA (`proca`)",
    "bdl": "BDL (`bdl`)",
    "oracle": "oracle (trained on with the target's labels)",
}
"""Rows of the summary, in its order."""


def render_results(method: str) -> str:
    """The rows of a method and its control beside source-only and oracle, then round by round;
    without a name the whole file."""
    text = re.sub(r"^!\[.*\n\n", "", RESULTS.read_text(), flags=re.MULTILINE)  # images lie beside that file
    if not method:
        return re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE)
    rows = table_after(text, "| run |")
    names = [name for name in (PICKED[0], "adabn", f"{method}-control", method, PICKED[1]) if name in rows]
    if method not in rows:
        return f"No figures of `{method}` have been recorded yet in `benchmarks/RESULTS.md`."
    head = text.split("\n\n")[1]
    lines = ["| run | mIoU | paired difference |", "| --- | --- | --- |", *(rows[name] for name in names)]
    rounds = re.search(rf"^{re.escape(method)}, after each round:\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    after = ["", "After each round:", "", rounds[1].rstrip()] if rounds else []
    return "\n".join([head, "", *lines, *after])


def render_summary() -> str:
    """Every method beside its matched control, a row each, as on the front page of the repository."""
    rows = {name: [cell.strip() for cell in row.strip("|").split("|")] for name, row in table_after(RESULTS.read_text(), "| run |").items()}
    lines = ["| run | mIoU | its matched control | paired difference |", "| --- | --- | --- | --- |"]
    for name, title in TITLES.items():
        _, score, difference = rows[name]
        control = rows[f"{name}-control"][1] if f"{name}-control" in rows else ""
        short = re.sub(r" \(.*?\)", "", difference).replace(f" to {name}-control", "")
        lines.append(f"| {title} | {score} | {control} | {short} |")
    return "\n".join(lines)


def render_few_labels() -> str:
    """The section of runs with a few labels of the target, without its heading."""
    _, found, section = RESULTS.read_text().partition("\n## A few labels of the target\n")
    return section.partition("\n## ")[0].strip() if found else "No figures have been recorded yet in `benchmarks/RESULTS.md`."


def table_after(text: str, head: str) -> dict[str, str]:
    """The rows of the first table that begins with `head`, by their first cell."""
    block = text[text.index(head) :].split("\n\n")[0]
    return {row.split("|")[1].strip(): row for row in block.split("\n")[2:] if row.startswith("|")}
