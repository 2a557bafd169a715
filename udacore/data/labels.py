"""The old place of `udacore.labels`, which works until version 0.3."""

from udacore.deprecation import forward_names

_NAMES = (
    "CITYSCAPES_IDS CLASSES13 CLASSES16 CLASSES19 COLOURS IGNORE LABEL_SPACES SHORT_NAMES STREETS SYNTHIA_IDS Colour Label LabelSpace "
    "class_index colorize get_label_space lookup_table raw_map remap subset_indices synthia16_to_cityscapes19 table_of"
)
__getattr__ = forward_names(__name__, {name: f"udacore.labels.{name}" for name in _NAMES.split()}, gone="0.3")
