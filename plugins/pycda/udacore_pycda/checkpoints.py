"""Files of the authors (algorithms/pycda 13): plain state_dicts, with or without
`module.` before all keys."""

from __future__ import annotations

from udacore.models.layouts import Layout

PAIR = Layout(
    name="pycda",
    parts={
        "encoder": {r"(?=(conv|bn)[123]\.|layer[1-4]\.)": "backbone."},
        "decoder": {r"(?=ppm\.|cbr_deepsup\.|conv_last\.|conv_last_deepsup\.)": "classifier."},
    },
)
"""`encoder_<...>.pth.tar` and `decoder_<...>.pth.tar`, two files that are read together."""

WHOLE = Layout(name="pycda-whole", parts={"": {r"encoder\.": "backbone.", r"decoder\.": "classifier."}})
"""Both in one state_dict, the encoder's keys after `encoder.`, the decoder's after `decoder.`."""

LAYOUTS = (PAIR, WHOLE)
