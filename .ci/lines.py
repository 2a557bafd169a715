"""Lines of code of each package, without blanks, comments and docstrings; files, and the longest function.

    python .ci/lines.py

Prints a Markdown table. The contract, the core and the batteries are what the README calls by these names.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ("hookspecs.py", "interface.py", "source_only.py")
BATTERIES = ("data", "models", "testing", "methods/scaffold.py", "losses.py", "thresholds.py", "pseudo_labels.py", "metrics.py", "inference.py")
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    """Lines that hold code.

    >>> code_lines('\"\"\"Docstring.\"\"\"\\n\\nx = 1  # a comment\\n')
    1
    """
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstring_lines(ast.parse(text)))


def docstring_lines(tree: ast.Module) -> set[int]:
    """The lines of all strings that stand alone as a statement."""
    alone = (node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    return {line for node in alone if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}  # fmt: skip


def longest_function(tree: ast.Module) -> int:
    """Lines of the longest function, its docstring included."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return max(((node.end_lineno or 0) - node.lineno + 1 for node in functions), default=0)


def row(name: str, files: list[Path]) -> str:
    """A row of the table."""
    texts = [path.read_text(encoding="utf-8") for path in files]
    lines = [line for text in texts for line in text.splitlines()]
    wide = sum(len(line) > 110 for line in lines) / max(1, len(lines))
    comments = sum(line.lstrip().startswith("#") for line in lines) / max(1, len(lines))
    longest = max((longest_function(ast.parse(text)) for text in texts), default=0)
    return f"| {name} | {len(files)} | {sum(map(code_lines, texts))} | {longest} | {100 * wide:.1f} % | {100 * comments:.1f} % |"


def main() -> int:
    """Print the table."""
    core = sorted((ROOT / "udacore").rglob("*.py"))
    contract = [ROOT / "udacore" / name for name in CONTRACT]
    batteries = [path for path in core if path.relative_to(ROOT / "udacore").as_posix().startswith(BATTERIES)]
    rest = [path for path in core if path not in batteries and path not in contract]
    print("| package | files | code lines | longest function | lines over 110 columns | comment lines |\n| --- | --- | --- | --- | --- | --- |")
    print(row("the contract", contract))
    print(row("the rest of the core", rest))
    print(row("batteries", batteries))
    print(row("udacore", core))
    for folder in sorted((ROOT / "plugins").glob("*/udacore_*[!o]")):
        print(row(folder.name, sorted(folder.rglob("*.py"))))
    print("\nFiles in each folder: " + ", ".join(
        f"{folder.relative_to(ROOT)} {len(list(folder.glob('*.py')))}"
        for folder in (ROOT / "udacore", *sorted(path for path in (ROOT / "udacore").rglob("*") if path.is_dir()))
        if list(folder.glob("*.py"))
    ))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
