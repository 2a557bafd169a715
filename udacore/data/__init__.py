"""Data sets, transforms, samplers and the streams made of them."""
