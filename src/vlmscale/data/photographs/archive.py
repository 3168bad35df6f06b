"""Photographs with captions from Debian's package tuxpaint-stamps-default: things cut out of photographs.

The package is GPL-2: it is downloaded by each user and never part of this repository.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from vlmscale.errors import UserError
from vlmscale.images import compute_image_key, encode_png, read_image

# Folders of the package -> what a person calls the things in them. Folders of drawings are not among them.
KINDS = {
    "animals/birds": "bird",
    "animals/fish": "fish",
    "animals/insects": "insect",
    "animals/mammals": "mammal",
    "animals/marsupials": "mammal",
    "clothes": "piece of clothing",
    "food/fruit": "fruit",
    "food/vegetables": "vegetable",
    "hobbies/music": "musical instrument",
    "household/tools": "tool",
    "plants/flowers": "flower",
    "plants/trees": "tree",
    "vehicles": "vehicle",
}
_DRAWN = {"cartoon", "toys", "plastic"}
_ROOT = "./usr/share/tuxpaint/stamps/"
_NOUN = re.compile(r"(An?) ((?:[\w“”’'-]+ ){0,2}[\w-]+)\.")  # a caption that names one thing


@dataclass(frozen=True)
class Photograph:
    """One thing on white: its caption, such as "A great blue heron.", and the kind, such as "bird"."""

    name: str
    caption: str
    kind: str
    image: bytes  # a PNG file
    image_key: str

    @property
    def phrase(self) -> str:
        """What the caption names, with its article: "a great blue heron"."""
        article, noun = _NOUN.fullmatch(self.caption).groups()  # type: ignore[union-attr]
        return f"{article.lower()} {noun}"

    @property
    def head(self) -> str:
        """The last word of the phrase: "heron"."""
        return self.phrase.rpartition(" ")[2].lower()


@cache  # three benchmarks are made of it, and it takes seconds
def read_photographs(package: Path) -> tuple[Photograph, ...]:
    """Return the photographs of the .deb file `package` whose caption names one thing, by name.

    Raises UserError for a file that is no such package.
    """
    files: dict[str, bytes] = {}
    with _open_data(package) as archive:
        for member in archive:
            name = member.name.removeprefix(_ROOT)
            if member.isfile() and _find_kind(name) and name.endswith((".png", ".txt")):
                files[name.removesuffix(".png")] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return tuple(_match(files))


def _open_data(package: Path) -> tarfile.TarFile:
    """Open data.tar of a .deb file, which is an ar archive: a header of 60 bytes, then the member."""
    with package.open("rb") as file:
        if file.read(8) == b"!<arch>\n":
            while len(header := file.read(60)) == 60:
                name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
                if name.startswith("data.tar"):
                    return tarfile.open(fileobj=io.BytesIO(file.read(size)))
                file.seek(size + size % 2, io.SEEK_CUR)
    raise UserError(f"{package} is no Debian package with data. Delete it and run again.")


def _find_kind(name: str) -> str | None:
    parts = PurePosixPath(name).parts[:-1]
    folders = ("/".join(parts[:length]) for length in (1, 2))
    kind = next((KINDS[folder] for folder in folders if folder in KINDS), None)
    return None if _DRAWN.intersection(parts) else kind


def _match(files: dict[str, bytes]) -> Iterator[Photograph]:
    """Yield a photograph for each image with a fitting caption, which is the first line of a text file."""
    for name in sorted(name for name in files if f"{name}.txt" in files):
        caption = files[f"{name}.txt"].decode("utf-8", "replace").partition("\n")[0].strip()
        if _NOUN.fullmatch(caption):
            image = _put_on_white(files[name])
            kind = _find_kind(name) or ""
            yield Photograph(name, caption, kind, encode_png(image), compute_image_key(image))


def _put_on_white(content: bytes) -> Image.Image:
    cut_out = read_image(content).convert("RGBA")
    white = Image.new("RGBA", cut_out.size, "white")
    return Image.alpha_composite(white, cut_out).convert("RGB")
