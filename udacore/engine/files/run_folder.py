"""The names of all files in a run folder."""

from __future__ import annotations

from pathlib import Path

import attrs

CONFIG = "config.yaml"
ENVIRONMENT = "env.json"
METRICS = "metrics.jsonl"
LOG = "log.txt"
REPORT = "report.html"
LOCK = ".lock"
"""File that the main process of a run holds locked; the system releases it however the process ends."""

REPLACED = ".replaced"
"""Folder that holds the run that --force replaces, until the new one has its first checkpoint."""


def round_label(index: int, name: str) -> str:
    """`<k>-<name>`: how the files of a round are called, and the checkpoint of its end.

    >>> round_label(1, "adapt")
    '1-adapt'
    """
    return f"{index}-{name}"


def steps_label(index: int, name: str) -> str:
    """The checkpoint after a round's last step, before its end.

    >>> steps_label(1, "adapt")
    '1-adapt-steps'
    """
    return f"{round_label(index, name)}-steps"


@attrs.frozen
class RunFolder:
    """Where the files of a run lie; whether they are there is not asked."""

    path: Path

    @property
    def config(self) -> Path:
        """The complete effective configuration, YAML."""
        return self.path / CONFIG

    @property
    def environment(self) -> Path:
        """Versions, device, and checksums of data and files of weights, JSON."""
        return self.path / ENVIRONMENT

    @property
    def metrics(self) -> Path:
        """Losses, scores and recorded numbers, JSON in lines."""
        return self.path / METRICS

    @property
    def lock(self) -> Path:
        """Held locked while a run is at work."""
        return self.path / LOCK

    @property
    def replaced(self) -> Path:
        """The run that is being replaced."""
        return self.path / REPLACED

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def round(self, label: str) -> Path:
        """The folder of a round's own files, by the round's label."""
        return self.path / "rounds" / label

    def labels(self, label: str) -> Path:
        """The pseudo labels that a round made; they are complete if there is a manifest."""
        return self.round(label) / "labels"

    def images(self, label: str) -> Path:
        """The images that a round wrote; they are complete if there is a manifest."""
        return self.round(label) / "images"
