"""Prediction of images, folders and videos under the protocol of an evaluation set."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from udacore import ranks
from udacore.config.schema import Config, EvaluationConfig, PixelConfig
from udacore.data.bands import Bands, read_pixels
from udacore.data.colour import normalize
from udacore.data.geometry import resize_image
from udacore.data.layouts import IMAGE_SUFFIXES, describe_passed_over, list_files
from udacore.data.reading import write_image, write_label
from udacore.data.tiles import join_windows
from udacore.engine.evaluation import predict_under, watched_outputs
from udacore.engine.files.checkpoint import digest, preserve_state
from udacore.engine.machine.device import Machine
from udacore.engine.machine.footprint import check_protocol
from udacore.engine.machine.main_rank import as_user_error
from udacore.engine.results.predicted_files import PredictedFiles
from udacore.engine.results.scoring import choose_checkpoint, load_model, open_session, require_network
from udacore.errors import ConfigError, DataError, UdaError, near_matches
from udacore.files import name_file
from udacore.labels import LabelSpace, colorize
from udacore.models import use_domain
from udacore.plugins import Method

Style = Literal["labels", "overlay"]
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
_BLOCKS = 1 << 16
"""Bytes below which a disk has no room for more of a video."""

OVERLAY = 0.5
"""Share of the labels' colours in an overlay; the rest is the image."""


@attrs.frozen(kw_only=True)
class Predictor:
    """A trained model with everything that turns an image into labels.

    domain  chooses domain-specific layers
    key     names the weights and the protocol: equal keys give equal labels
    """

    model: nn.Module
    protocol: EvaluationConfig
    domain: str
    pixels: PixelConfig
    space: LabelSpace
    machine: Machine
    key: str = ""

    def read(self, path: Path) -> NDArray[Any]:
        """An image, with the channels that the network takes."""
        return read_pixels(path, Bands(len(self.pixels.mean), self.pixels.bits))

    @torch.no_grad()
    def label(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Class ids H W of an image as `read` gives it, in the tiles of the protocol if it has some, at the image's own size whatever the
        protocol's input size is."""
        if self.protocol.tile.size is not None:
            return join_windows(image, self.protocol.tile, self._label)
        return self._label(image)

    def _label(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        size = self.protocol.size
        resized = image if size is None else resize_image(image, size, self.protocol.interpolation)
        batch = torch.from_numpy(normalize(resized, self.pixels))[None].to(self.machine.device, memory_format=self.machine.memory_format)
        with preserve_state(self.model), use_domain(self.model, self.domain), watched_outputs(self.model) as broken:
            with self.machine.autocast():
                prediction = predict_under(self.protocol, self.model, batch, image.shape[:2])
            if broken:
                raise UdaError("outputs of the network are not finite, so there is nothing to label")
        return prediction[0].to(torch.uint8).cpu().numpy()

    def overlay(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """The image with its predicted labels' colours over it, H W 3."""
        shown = image[:, :, [channel % image.shape[2] for channel in range(3)]]
        mixed = (1 - OVERLAY) * shown.astype(np.float32) + OVERLAY * colorize(self.label(image), self.space)
        return np.rint(mixed).astype(np.uint8)


@contextlib.contextmanager
def open_predictor(
    config: Config, method: Method, *, folder: Path | None = None, only: str | None = None, checkpoint: Path | None = None, data: str | None = None,
    network: str | None = None,
) -> Iterator[Predictor]:
    """The model of a round, ready for images; no data set is opened.

    folder, only, checkpoint  as `score_checkpoint` takes them
    data                      name of the evaluation set whose protocol counts; default: the first of
                              the target, else the first

    network                   child of the model that labels in its place, such as `teacher`;
                              default: as the protocol says

    ConfigError for an unknown round, set or network, UdaError if the round is not finished.
    """
    name, path = choose_checkpoint(config, folder, only, checkpoint)
    protocols = config.rounds[name].evaluate
    if data is not None and data not in protocols:
        raise ConfigError(f"--set: round {name!r} has no evaluation set {data!r}{near_matches(data, protocols)}")
    on_target = [key for key, entry in protocols.items() if entry.domain in (None, "target")]
    protocol = protocols[data] if data else protocols[(on_target or list(protocols))[0]] if protocols else EvaluationConfig()
    protocol = protocol if network is None else attrs.evolve(protocol, network=network)
    with open_session(config, method, folder) as session:
        check_protocol(protocol, "evaluate", len(session.rounds[name].space.classes))
        model, _ = load_model(session, name, path)
        chosen = require_network(model, protocol.network, path)
        yield Predictor(
            model=chosen.eval(), protocol=protocol, domain=protocol.domain or "target", pixels=config.rounds[name].pixels,
            space=session.rounds[name].space, machine=session.machine, key=f"{digest(chosen.state_dict())} {_digest_of(protocol)}",
        )  # fmt: skip


def _digest_of(protocol: EvaluationConfig) -> str:
    """A name for what of a protocol changes a label."""
    text = repr([getattr(protocol, name) for name in _LABELLING])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_LABELLING = ("size", "interpolation", "upsample", "align_corners", "scales", "flip", "window", "stride", "head", "domain")


def find_inputs(paths: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """Each image or video with the relative path (without suffix) under which its
    result is written, in order.

    A folder stands for the images and videos below it, without earlier results in `out`. DataError for what
    is missing, is neither, or would share a result.
    """
    earlier = PredictedFiles(out, "")
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in _find_inside(path) if not earlier.holds(file)]
            if not inside:
                raise DataError(f"{path}: holds no image or video{describe_passed_over(path, SUFFIXES)}")
            found += [(file, file.relative_to(path).with_suffix("")) for file in inside]
        elif not path.exists():
            raise DataError(f"{path} does not exist")
        elif path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: neither an image ({', '.join(IMAGE_SUFFIXES)}) nor a video ({', '.join(VIDEO_SUFFIXES)})")
        else:
            found.append((path, Path(path.stem)))
    places: dict[Path, Path] = {}
    for path, place in found:
        if place in places:
            raise DataError(f"{path} and {places[place]} would both be written as {place}; give them to separate calls")
        places[place] = path
    return found


def _find_inside(folder: Path) -> list[Path]:
    """The images and videos below a folder, sorted; two that differ in their suffix alone are both there."""
    return sorted(Path(path) for suffix in SUFFIXES for path in list_files(folder, (suffix,)).values())


def predict_files(
    predictor: Predictor, inputs: list[tuple[Path, Path]], out: Path, style: Style, failed: list[str]
) -> Iterator[Path]:
    """Write the result of each input below `out` and yield its path; each rank takes its share.

    Images: `labels` is a palette PNG whose indices are the class ids, `overlay` a PNG of image and colours.
    Videos are always overlays (a compressed video keeps no ids). What an earlier call has written of the same
    inputs, with the same weights and protocol, is passed over.

    failed  is filled with a line for each input that could not be read; the others are labelled

    ConfigError, before anything is written, if a result would replace an input or a file that is not an
    earlier result; UdaError if one cannot be written.
    """
    results = {path: out / place.with_name(place.name + (".mp4" if _is_video(path) else ".png")) for path, place in inputs}
    given = {path.resolve() for path in results}
    written = PredictedFiles(out, f"{predictor.key} {style}")
    for path, result in results.items():
        if result.resolve() in given:
            raise ConfigError(f"--out: {result} is the {'video' if _is_video(path) else 'image'} itself; choose another folder")
        written.check(path, result)
    for path, _ in inputs[ranks.rank() :: ranks.size()]:
        if written.is_done(path, results[path]):
            continue
        try:
            _predict_file(predictor, path, results[path], style)
            written.note(path, results[path])
        except DataError as error:
            failed.append(str(error))
            continue
        except OSError as error:
            raise as_user_error(error) from error
        yield results[path]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _predict_file(predictor: Predictor, path: Path, result: Path, style: Style) -> None:
    if _is_video(path):
        _predict_video(predictor, path, result)
    elif style == "labels":
        write_label(result, predictor.label(predictor.read(path)), predictor.space.palette)
    else:
        write_image(result, predictor.overlay(predictor.read(path)))


def _open_video(path: Path) -> cv2.VideoCapture:
    """A video, of which FFmpeg says nothing on stderr: what is wrong with it is said here, in one line."""
    name = "OPENCV_FFMPEG_LOGLEVEL"
    if name in os.environ:
        return cv2.VideoCapture(str(path))
    os.environ[name] = "-8"  # read once, when the first video is opened
    try:
        return cv2.VideoCapture(str(path))
    finally:
        del os.environ[name]


def _check_whole(temporary: Path, result: Path, frames: int) -> None:
    """OSError, and the file removed, unless a video holds all frames that were written:
    OpenCV hides a full disk."""
    found = int(_open_video(temporary).get(cv2.CAP_PROP_FRAME_COUNT))
    if found >= frames:
        return
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    name_file(full, result)
    is_full = shutil.disk_usage(result.parent).free < _BLOCKS  # asked before there is room again
    temporary.unlink()
    if is_full:
        raise full
    raise UdaError(f"{result}: OpenCV has written {max(found, 0)} of {frames} frames")


def _predict_video(predictor: Predictor, path: Path, result: Path) -> None:
    """Frame by frame into an MP4 of the same size and rate; a file that is cut off
    keeps its temporary name."""
    if not path.is_file():
        raise DataError(f"video {path} is not a file")
    video = _open_video(path)
    stated = video.get(cv2.CAP_PROP_FRAME_COUNT)
    frames = 0
    temporary = result.with_name(f".{result.stem}.part.mp4")
    writer: cv2.VideoWriter | None = None
    try:
        while (read := video.read())[0]:
            frame = np.ascontiguousarray(read[1][..., ::-1], dtype=np.uint8)
            if writer is None:
                result.parent.mkdir(parents=True, exist_ok=True)
                rate = video.get(cv2.CAP_PROP_FPS) or 25.0
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), rate, (frame.shape[1], frame.shape[0]))
                if not writer.isOpened():
                    raise UdaError(f"{temporary}: OpenCV cannot write this video (folder read-only, or built without MP4)")
            writer.write(np.ascontiguousarray(predictor.overlay(frame)[..., ::-1]))
            frames += 1
    finally:
        video.release()
        if writer is not None:
            writer.release()
    if writer is None:
        raise DataError(f"video {path} is broken or has no frame")
    _check_whole(temporary, result, frames)
    temporary.replace(result)
    if frames < stated:
        raise DataError(f"video {path} ends after {frames} of {stated:.0f} frames; {result} holds those")
