"""Images inside zip archives, read where they lie.

Nothing is ever unpacked: 80 GB and half a million small files are spared, and no name, link or device in
an archive can touch the disk. An archive that holds such things is refused all the same: it is not
the one it should be.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vlmscale.errors import UserError

MOST_FILES = 2_000_000  # in one archive; the largest of ours has 558,128
MOST_BYTES = 64 * 2**20  # of one image
_MOST_GROWTH = 20  # times an archive's own size; images are compressed already
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # mark, ..., lengths of name and of what follows it


class Unreadable(Exception):
    """The bytes of an image cannot be had; the message says why."""


@dataclass(frozen=True)
class Member:
    """An image in an archive: where, how long (bytes), and its checksum."""

    archive: Path
    offset: int
    packed: int
    size: int
    crc: int
    method: int  # of zipfile's

    @property
    def identity(self) -> tuple[int, int]:
        return self.size, self.crc

    def read(self) -> bytes:
        """Its content. Raises Unreadable if that is not what the archive's table announces."""
        if self.size > MOST_BYTES:
            raise Unreadable(f"too large ({self.size:,} bytes)")
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            header = file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
                raise Unreadable("damaged in its archive")
            _, name, extra = _LOCAL_HEADER.unpack(header)
            file.seek(name + extra, 1)
            content = file.read(self.packed)
        if self.method == zipfile.ZIP_DEFLATED:
            try:
                # One byte more than announced is enough to see that there is more.
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self.size + 1)
            except zlib.error:
                raise Unreadable("damaged in its archive") from None
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise Unreadable("damaged in its archive")
        return content


@dataclass(frozen=True)
class Loose:
    """An image that lies as a file in the folder of one's own images."""

    file: Path
    size: int
    changed: int  # nanoseconds

    @property
    def identity(self) -> tuple[int, int]:
        return self.size, self.changed

    def read(self) -> bytes:
        if self.size > MOST_BYTES:
            raise Unreadable(f"too large ({self.size:,} bytes)")
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise Unreadable(f"not readable ({error.strerror})") from None


Stored = Member | Loose


def find_loose(folder: Path, paths: Iterable[str]) -> dict[str, Stored]:
    """Those of `paths` that are files below `folder`."""
    found: dict[str, Stored] = {}
    for path in paths if folder.exists() else ():
        file = folder / path
        if is_inside(path) and file.is_file():
            status = file.stat()
            found[path] = Loose(file, status.st_size, status.st_mtime_ns)
    return found


def find_members(archive: Path, folder: str, paths: Collection[str]) -> dict[str, Stored]:
    """Those of `paths`, all in `folder`, that the archive holds.

    An image is found by its name without the extension, whatever folders the archive has: mirrors pack
    them differently, and the records call a GIF .jpg. Raises UserError for an archive that
    is damaged or holds what no archive of images holds.
    """
    start = 0 if folder == "." else len(folder) + 1
    wanted = {PurePosixPath(path).stem for path in paths}
    members: dict[str, list[zipfile.ZipInfo]] = {}
    for info in _contents(archive):
        stem = PurePosixPath(info.filename).stem
        if stem in wanted and not info.is_dir():
            members.setdefault(stem, []).append(info)
    found: dict[str, Stored] = {}
    for path in paths:
        candidates = members.get(PurePosixPath(path).stem, [])
        if candidates:
            # Of several, the one whose folders and extension are the record's.
            tail = path[start:]
            info = min(
                candidates, key=lambda i: (not f"/{i.filename}".endswith(f"/{tail}"), i.filename)
            )
            found[path] = Member(
                archive=archive,
                offset=info.header_offset,
                packed=info.compress_size,
                size=info.file_size,
                crc=info.CRC,
                method=info.compress_type,
            )
    return found


def is_inside(path: str) -> bool:
    """Whether a path stays below the folder it is taken from."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path


def _contents(archive: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(archive) as file:
            contents = file.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{archive} is damaged ({error}). Delete it and run again: it is downloaded anew."
        ) from None
    if len(contents) > MOST_FILES:
        objections = [f"{len(contents):,} files, more than {MOST_FILES:,}"]
    elif sum(info.file_size for info in contents) > _MOST_GROWTH * archive.stat().st_size:
        objections = [f"files that unpack to more than {_MOST_GROWTH} times its own size"]
    else:
        objections = [objection for info in contents if (objection := _objection(info))]
    if objections:
        raise UserError(
            f"{archive} holds {objections[0]}: it is not the archive it should be. "
            "Delete it and run again, from another mirror if it comes back."
        )
    return contents


def _objection(info: zipfile.ZipInfo) -> str | None:
    """What speaks against an entry of an archive of images."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not is_inside(info.filename):
        return f"a path that leads outside, {info.filename!r}"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"a link or device, {info.filename!r}"
    return None
