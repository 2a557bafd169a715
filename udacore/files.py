"""Atomic writing of files, and checksums that find a damaged one."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import shutil
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of a disk, a quota or a largest size that is reached, and of one where
nothing may be written at all."""

_ZIP = b"PK\x03\x04"
_PNG = b"\x89PNG\r\n\x1a\n"
_STALE = 3600
_BLOCK = 1 << 24


@contextlib.contextmanager
def atomic(path: str | Path, *, shared: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when the block has ended without an error.

    path    the final name; missing folders are made
    shared  several processes may write this file at once, as into a cache: each has a
            temporary name of its own

    The content is flushed to the disk before the file is renamed, and the folder after it. Raises OSError as
    `naming` makes it; what was there before is then unchanged, and the temporary file is gone.
    """
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}" if shared else f"{path.name}{PART}")
    if shared:
        _remove_stale(path)
    try:
        with naming(path), temporary.open("wb", buffering=0) as file:
            yield _Whole(file, path)  # type: ignore[misc]
            os.fsync(file.fileno())
        with naming(path):
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

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def write(self, data: bytes) -> int:
        """Write all of `data`; OSError if the disk takes less."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        with naming(self._path):  # here: once the temporary file is gone, its disk is full no more
            while rest:
                rest = rest[self._file.write(rest) :]
        return size

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """An OSError from inside names `path`, and says which disk is full, as `name_file` does."""
    try:
        yield
    except OSError as error:
        name_file(error, path)
        raise


def name_file(error: OSError, path: str | Path) -> None:
    """Put `path` into an error that names no file, and into that of a full disk which disk it is; in place.

    The system's error of a write has no name, since a file may have many; that of a temporary
    file gets the final one.
    """
    if error.errno is None:  # a message alone: with a name it would be printed as "[Errno None] None"
        return
    if error.filename is None or str(error.filename).endswith(PART):
        error.filename, error.filename2 = str(path), None
    if error.errno in FULL and error.strerror == os.strerror(error.errno):
        error.strerror = f"{error.strerror} ({describe_disk(error.filename, error.errno)})"


def describe_disk(path: str | Path, reason: int = errno.ENOSPC) -> str:
    """Mount point and kind of the disk that a file lies on, or would lie on, and what is
    left of it, in a few words.

    reason  the error that was met: another thing is full where files may be no larger, or no more in number

    >>> describe_disk("/data/runs/a/log.txt")  # doctest: +SKIP
    '0 B of 64 KiB are free on /data, tmpfs'
    """
    place = Path(path).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    place = place.resolve()
    while not place.is_mount() and place != place.parent:
        place = place.parent
    disk = f"{place}{_kind_of(place)}"
    if reason == errno.EFBIG:
        return f"a process may write no larger file here, whatever is free on {disk}"
    if reason == errno.EROFS:
        return f"{disk}, may not be written to"
    if reason == errno.EDQUOT:
        return f"your quota is used up on {disk}"
    try:
        usage, inodes = shutil.disk_usage(place), os.statvfs(place)
    except (OSError, AttributeError):
        return disk
    if inodes.f_files and not inodes.f_favail:
        return f"{disk}, holds as many files as it can, {inodes.f_files}"
    return f"{show_bytes(usage.free)} of {show_bytes(usage.total)} are free on {disk}"


def show_bytes(count: int) -> str:
    """A number of bytes with the largest unit of which there is one at least.

    >>> show_bytes(1536), show_bytes(3)
    ('1.5 KiB', '3 B')
    """
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f}".removesuffix(".0") + f" {units[0]}"


def _kind_of(mount: Path) -> str:
    """`, tmpfs` or the like, where the system tells."""
    with contextlib.suppress(OSError):
        rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        spelt = re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", str(mount))
        kinds = [row[2] for row in rows if len(row) > 2 and row[1] == spelt]
        return f", {kinds[-1]}" if kinds else ""
    return ""


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

    Entries that are stored without compression, as torch writes them, are summed where they lie, by several
    threads. None also for a file that is not a zip archive: it has no checksums. Raises OSError.
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
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError):
        return "its end is missing, or its table of contents is damaged"


def _reads_well(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as file:
            while file.read(_BLOCK):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return False
    except (RuntimeError, NotImplementedError):  # a flipped bit asks for a password, or for a compression that nobody has
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
