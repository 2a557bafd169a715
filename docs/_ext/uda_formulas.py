"""Sphinx extension: formulas become SVG while the pages are built, so that a page needs
neither a script nor a network.

MathJax, from the package `sphinx-mathjax-offline`, runs in V8, from the package `mini-racer`. A formula that
MathJax does not understand is a warning, and so an error in `make docs`.
"""

from __future__ import annotations

import functools
import html
import importlib.util
from pathlib import Path
from typing import Any

from docutils import nodes
from py_mini_racer import MiniRacer
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

FILES = ("core.js", "adaptors/liteDOM.js", "input/tex-base.js", "input/tex/extensions/ams.js", "output/svg.js", "output/svg/fonts/tex.js")
SETUP = """
const parts = MathJax._, adaptor = parts.adaptors.liteAdaptor.liteAdaptor();
parts.handlers.html_ts.RegisterHTMLHandler(adaptor);
const page = parts.mathjax.mathjax.document("", {
  InputJax: new parts.input.tex_ts.TeX({packages: ["base", "ams"]}),
  OutputJax: new parts.output.svg_ts.SVG({fontCache: "none", font: new parts.output.svg.fonts.tex_ts.TeXFont()}),
});
function render(text, display) { return adaptor.innerHTML(page.convert(text, {display: display, em: 16, ex: 8, containerWidth: 1280})); }
0
"""
ERROR = 'data-mjx-error="'
LOG = logging.getLogger(__name__)


@functools.cache
def engine() -> MiniRacer:
    """V8 with MathJax in it, started with the first formula."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "static" / "mathjax"
    context = MiniRacer()
    context.eval("var global = globalThis, MathJax = {};")
    for name in FILES:
        context.eval((folder / name).read_text(encoding="utf-8") + "\n;0")
    context.eval(SETUP)
    return context


@functools.cache
def to_svg(text: str, display: bool) -> str:
    """A formula in LaTeX as an SVG element with the formula as its name, for readers that speak. Raises
    ValueError for one that is wrong."""
    svg = str(engine().call("render", text, display))
    if ERROR in svg:
        raise ValueError(html.unescape(svg.split(ERROR)[1].split('"')[0]))
    label = html.escape(" ".join(text.split()))
    return svg.replace("<svg ", f'<svg aria-label="{label}" ', 1)


def visit(translator: HTML5Translator, node: Any) -> None:
    """Write a formula of a line, or one that stands by itself, in its own box."""
    display = isinstance(node, nodes.math_block)
    try:
        svg = to_svg(node.astext(), display)
    except ValueError as error:
        LOG.warning("formula %r: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from error
    tag = "div" if display else "span"
    translator.body.append(f'<{tag} class="formula">{svg}</{tag}>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_html_math_renderer("uda_svg", inline_renderers=(visit, None), block_renderers=(visit, None))
    return {"parallel_read_safe": True, "version": "1"}
