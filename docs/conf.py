"""How the documentation is built: `make docs`, or `python -m sphinx -W docs OUT`."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "udacore"
author = "the udacore developers"
version = release = metadata.version("udacore")
language = "en"

extensions = ["myst_parser", "uda_formulas", "uda_reference"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_ext", "_build"]

nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # torch and others are not linked: a build needs no network
option_emphasise_placeholders = True
smartquotes = False  # -- and ... are what they are in commands and code

html_math_renderer = "uda_svg"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"udacore {release}"
html_copy_source = False
html_show_copyright = html_show_sphinx = False
