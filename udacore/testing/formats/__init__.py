"""Miniature data sets in exactly the real formats, one function for each.

Each image is a patchwork of regions in its classes' colours plus noise, and its label is encoded as in the
real files. Over a set all classes of the label space occur, together with some raw ids that are ignored.
Everything follows from `seed`, and nothing is downloaded.
"""

from udacore.testing.formats.aerial import write_loveda as write_loveda
from udacore.testing.formats.aerial import write_potsdam as write_potsdam
from udacore.testing.formats.aerial import write_vaihingen as write_vaihingen
from udacore.testing.formats.cities import raw_palette as raw_palette
from udacore.testing.formats.cities import write_cityscapes as write_cityscapes
from udacore.testing.formats.cities import write_foggy_cityscapes as write_foggy_cityscapes
from udacore.testing.formats.cities import write_folder as write_folder
from udacore.testing.formats.cities import write_gta5 as write_gta5
from udacore.testing.formats.cities import write_parsed_synthia as write_parsed_synthia
from udacore.testing.formats.cities import write_streets as write_streets
from udacore.testing.formats.cities import write_synthia as write_synthia
from udacore.testing.formats.driving import write_bdd100k as write_bdd100k
from udacore.testing.formats.driving import write_idd as write_idd
from udacore.testing.formats.driving import write_mapillary as write_mapillary
from udacore.testing.formats.driving import write_mapillary_v2 as write_mapillary_v2
from udacore.testing.formats.driving import write_synscapes as write_synscapes
from udacore.testing.formats.driving import write_urbansyn as write_urbansyn
from udacore.testing.formats.weather import write_acdc as write_acdc
from udacore.testing.formats.weather import write_dark_zurich as write_dark_zurich
