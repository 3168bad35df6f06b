"""A Debian package like tuxpaint-stamps-default, of a few drawn stamps."""

import io
import tarfile

from PIL import Image

ROOT = "./usr/share/tuxpaint/stamps/"


def cut_out(colour, size=(6, 4)):
    """A PNG file whose left half is transparent, with a colour of its own beneath."""
    image = Image.new("RGBA", size, colour)
    image.paste((7, 7, 7, 0), (0, 0, size[0] // 2, size[1]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_deb(path, files):
    """Write the .deb file `path` with `files`: path below the folder of stamps -> content."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(ROOT + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    # Of odd length, as a member may be, and so followed by a byte that pads it.
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path
