"""The files of a run: folder, checkpoints, overlays, metrics and environment."""
