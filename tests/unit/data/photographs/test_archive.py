"""Photographs and captions out of a Debian package."""

import io

import pytest
from PIL import Image

from tests.support.debs import cut_out, write_deb
from vlmscale.data.photographs.archive import read_photographs
from vlmscale.errors import UserError

CAPTION = b"A great blue heron.\nde.utf8=Ein Reiher.\n"


def stamp(name, caption=CAPTION, colour="blue"):
    return {f"{name}.png": cut_out(colour), f"{name}.txt": caption}


def test_things_with_a_name_are_taken_and_put_on_white(tmp_path):
    files = {
        **stamp("animals/birds/heron"),
        **stamp("animals/mammals/cats/lion", b"A lion.", "brown"),
        **stamp("animals/birds/cartoon/tux", b"A penguin."),  # drawn
        **stamp("symbols/shapes/star", b"A star."),  # of no kind
        **stamp("food/fruit/banana", b"Eat your banana!"),  # does not name one thing
        "food/fruit/pear.png": cut_out("green"),  # without a caption
        "animals/birds/heron.dat": b"noflip",
    }
    heron, lion = read_photographs(write_deb(tmp_path / "x.deb", files))
    assert (heron.name, heron.caption, heron.kind) == (
        "animals/birds/heron",
        "A great blue heron.",
        "bird",
    )
    assert (heron.phrase, heron.head) == ("a great blue heron", "heron")
    assert (lion.phrase, lion.head, lion.kind) == ("a lion", "lion", "mammal")
    image = Image.open(io.BytesIO(heron.image))
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert (image.getpixel((0, 0)), image.getpixel((5, 0))) == ((255, 255, 255), (0, 0, 255))
    assert heron.image_key != lion.image_key


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"!<arch>\n"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "x.deb").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.deb is no Debian package with data"):
        read_photographs(tmp_path / "x.deb")
