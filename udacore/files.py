"""Files that are written whole or not at all, and the checksums by which a damaged one is found."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

PART = ".part"
"""Ending of a file that is being written; one that a killed process left behind holds nothing of worth."""

_ZIP = b"PK\x03\x04"
_PNG = b"\x89PNG\r\n\x1a\n"
_STALE = 3600
_BLOCK = 1 << 24


@contextlib.contextmanager
def atomic(path: str | Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block has ended without an error.

    path    the final name; missing folders are made
    shared  several processes may write this file at once, as into a cache: each has a temporary name of its own

    The content is flushed to the disk before the file is renamed, and the folder after it. Raises OSError; what was
    there before is then unchanged, and the temporary file is gone.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}" if shared else f"{path.name}{PART}")
    if shared:
        _remove_stale(path)
    try:
        with temporary.open("wb", buffering=0) as file:
            yield _Whole(file)  # type: ignore[misc]
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all; see `atomic`."""
    with atomic(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all; see `atomic`."""
    write_bytes(path, text.encode())


class _Whole:
    """An unbuffered file whose `write` takes all it is given: a full disk may take a part of it first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        """Write all of `data`; OSError if the disk takes less."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            rest = rest[self._file.write(rest) :]
        return size

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def _remove_stale(path: Path) -> None:
    """Remove temporary files of processes that were killed long ago while they wrote `path`."""
    for other in path.parent.glob(f".{path.name}.*{PART}"):
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > _STALE:
                other.unlink()


def _flush_folder(folder: Path) -> None:
    """Make a rename survive the loss of power. Systems that cannot open a folder do without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def find_zip_damage(path: str | Path) -> str | None:
    """What is wrong with a zip archive, in words, or None; torch.save and NumPy's .npz write such archives.

    Entries that are stored without compression, as torch writes them, are summed where they lie, by several threads.
    None also for a file that is not a zip archive: it has no checksums. Raises OSError.
    """
    path = Path(path)
    with path.open("rb") as file:
        if file.read(4) != _ZIP:
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            broken = next((entry.filename for entry in packed if not _reads_well(archive, entry)), None)
        if broken is not None:
            return f"{broken} differs from its checksum"
        stored = [entry for entry in entries if entry.compress_type == zipfile.ZIP_STORED and entry.file_size]
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        ):
            sound = list(pool.map(lambda entry: _is_sound(content, entry), stored))
        broken = next((entry.filename for entry, is_sound in zip(stored, sound, strict=True) if not is_sound), None)
        return None if broken is None else f"{broken} differs from its checksum"
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, RuntimeError, EOFError):
        return "its end is missing, or its table of contents is damaged"


def _reads_well(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as file:
            while file.read(_BLOCK):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False
    return True


def _is_sound(content: mmap.mmap, entry: zipfile.ZipInfo) -> bool:
    """Whether the bytes of a stored entry have the checksum that the archive's directory states."""
    head = content[entry.header_offset : entry.header_offset + 30]
    # miniz, which torch reads with, takes an entry with the mark of a folder for an empty one
    if head[:4] != _ZIP or entry.file_size != entry.compress_size or entry.external_attr & 0x10:
        return False
    name, extra = struct.unpack("<HH", head[26:30])
    begin = entry.header_offset + 30 + name + extra
    named = content[entry.header_offset + 30 : entry.header_offset + 30 + name].decode("utf-8", "replace")
    if named != entry.orig_filename:  # the directory has no checksum: one name may have become another's
        return False
    found, end = 0, begin + entry.file_size
    if end > len(content):
        return False
    with memoryview(content) as view:
        for place in range(begin, end, _BLOCK):
            with view[place : min(place + _BLOCK, end)] as block:
                found = zlib.crc32(block, found)
    return found == entry.CRC


def find_png_damage(content: bytes) -> str | None:
    """What is wrong with the chunks of a PNG, in words, or None; None also for what is not a PNG.

    Decoders skip the checksums of pixels: a changed byte would become another class or colour in silence.
    """
    if not content.startswith(_PNG):
        return None
    place = len(_PNG)
    with memoryview(content) as view:
        while place + 12 <= len(content):
            (length,) = struct.unpack(">I", view[place : place + 4])
            end = place + 12 + length
            kind = bytes(view[place + 4 : place + 8]).decode("ascii", "replace")
            if end > len(content):
                break
            if zlib.crc32(view[place + 4 : end - 4]) != struct.unpack(">I", view[end - 4 : end])[0]:
                return f"chunk {kind} differs from its checksum"
            if kind == "IEND":
                return None
            place = end
    return "its end is missing"
