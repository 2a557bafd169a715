"""The hot spots that `speed.py` measures; `CASES` names them all."""

from hot_spots import clp, fada, losses, pictures, pycda
from hot_spots.inputs import CASES, Pair, Place

__all__ = ["CASES", "Pair", "Place", "clp", "fada", "losses", "pictures", "pycda"]
