"""What a run leaves on the disk: its folder, checkpoints, overlays, metrics and environment."""
