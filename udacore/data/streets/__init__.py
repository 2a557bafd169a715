"""`streets`: procedural street scenes in pairs of a source and a target, drawn while they are read.

Pair W (weather and shadow) differs by local light and new object forms, P by its
palette, L by camera and layout.
"""

from udacore.data.streets.palette import CLASSES, IGNORE
from udacore.data.streets.render import measure_affine, render
from udacore.data.streets.shift import PAIRS, Domain

__all__ = ["CLASSES", "IGNORE", "PAIRS", "Domain", "measure_affine", "render"]
