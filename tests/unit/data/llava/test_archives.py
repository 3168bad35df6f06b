"""Images are read from archives without unpacking them; odd archives are refused."""

import pickle
import stat
import zipfile

import pytest

from tests.support.upstream import archive, image
from vlmscale.data.llava import archives
from vlmscale.data.llava.archives import (
    UnreadableImage,
    find_archived_images,
    find_own_images,
    is_inside,
)
from vlmscale.errors import UserError


def test_members_are_found_by_name_whatever_the_folders_and_extension(tmp_path):
    content = {
        "deep/er/1.gif": b"one",
        "2.jpg": b"two",
        "2.png": b"other",
        "__MACOSX/._2.jpg": b"x",
    }
    file = archive(tmp_path / "images.zip", content)
    images = find_archived_images(file, "ocr/images", [f"ocr/images/{i}.jpg" for i in (1, 2, 3)])
    assert {path: member.read() for path, member in images.items()} == {
        "ocr/images/1.jpg": b"one",
        "ocr/images/2.jpg": b"two",
    }


def test_equal_names_in_different_folders_are_told_apart(tmp_path):
    file = archive(tmp_path / "images.zip", {"00000/1.jpg": b"a", "00001/1.jpg": b"b"})
    images = find_archived_images(file, ".", ["00000/1.jpg", "00001/1.jpg"])
    assert [images[path].read() for path in sorted(images)] == [b"a", b"b"]


def zip_with(file, name, content=b"x", **attributes):
    info = zipfile.ZipInfo(name)
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("images/1.jpg", image())
        out.writestr(info, content, zipfile.ZIP_DEFLATED)
    return file


@pytest.mark.parametrize(
    ("name", "attributes", "words"),
    [
        ("../../evil.jpg", {}, "leads outside"),
        ("/etc/evil.jpg", {}, "leads outside"),
        ("a\\..\\evil.jpg", {}, "leads outside"),
        ("link.jpg", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "link or device"),
        ("disk.jpg", {"external_attr": (stat.S_IFBLK | 0o777) << 16}, "link or device"),
    ],
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path, name, attributes, words):
    file = zip_with(tmp_path / "evil.zip", name, **attributes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=words):
        find_archived_images(file, "x", ["x/1.jpg"])
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_and_images_that_are_too_large_are_refused(tmp_path, monkeypatch):
    file = archive(tmp_path / "bomb.zip", {f"{i}.jpg": bytes(2**20) for i in range(20)})
    with pytest.raises(UserError, match="unpack to more than 20 times"):
        find_archived_images(file, "x", ["x/1.jpg"])
    usual = zip_with(tmp_path / "usual.zip", "2.jpg", image())
    member = find_archived_images(usual, "x", ["x/1.jpg"])["x/1.jpg"]
    monkeypatch.setattr(archives, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(UnreadableImage, match="too large"):
        member.read()
    monkeypatch.setattr(archives, "MAX_FILES", 1)
    with pytest.raises(UserError, match="2 files, more than 1"):
        find_archived_images(usual, "x", ["x/1.jpg"])


def test_a_member_longer_than_announced_is_not_unpacked_further(tmp_path):
    file = tmp_path / "liar.zip"
    archive(file, {"1.jpg": bytes(10_000_000)})
    content = file.read_bytes()
    # The table at the end says 1,000 bytes, the packed data are ten million.
    end = content.rindex(b"PK\x01\x02")
    file.write_bytes(content[: end + 24] + (1000).to_bytes(4, "little") + content[end + 28 :])
    member = find_archived_images(file, "x", ["x/1.jpg"])["x/1.jpg"]
    with pytest.raises(UnreadableImage, match="damaged"):
        member.read()


def test_damage_inside_an_archive_is_seen(tmp_path):
    file = archive(tmp_path / "images.zip", {"1.jpg": image(), "2.jpg": image(2)})
    content = bytearray(file.read_bytes())
    content[200] ^= 255
    file.write_bytes(content)
    with pytest.raises(UnreadableImage, match="damaged"):
        find_archived_images(file, "x", ["x/1.jpg"])["x/1.jpg"].read()
    assert find_archived_images(file, "x", ["x/2.jpg"])["x/2.jpg"].read() == image(2)
    file.write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"images\.zip is damaged.*Delete it"):
        find_archived_images(file, "x", ["x/1.jpg"])


def test_a_member_shorter_than_announced_counts_as_damaged(tmp_path):
    file = archive(tmp_path / "liar.zip", {"1.jpg": bytes(1000)})
    content = file.read_bytes()
    index = content.rindex(b"PK\x01\x02")
    file.write_bytes(content[: index + 24] + (1100).to_bytes(4, "little") + content[index + 28 :])
    with pytest.raises(UnreadableImage, match="damaged"):
        find_archived_images(file, "x", ["x/1.jpg"])["x/1.jpg"].read()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
def test_other_compressions_are_read(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "images.zip", "w", method) as out:
        out.writestr("1.jpg", image())
    (stored,) = find_archived_images(tmp_path / "images.zip", ".", ["1.jpg"]).values()
    assert pickle.loads(pickle.dumps(stored)).read() == image()


def test_an_encrypted_member_counts_as_damaged(tmp_path):
    file = archive(tmp_path / "images.zip", {"1.jpg": image()})
    content = bytearray(file.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    file.write_bytes(content)
    with pytest.raises(UnreadableImage, match="damaged"):
        find_archived_images(file, ".", ["1.jpg"])["1.jpg"].read()


def test_own_images_lie_under_the_paths_of_the_records(tmp_path):
    (tmp_path / "own/coco").mkdir(parents=True)
    (tmp_path / "own/coco/1.jpg").write_bytes(b"mine")
    (tmp_path / "secret.jpg").write_bytes(b"not yours")
    paths = ["coco/1.jpg", "coco/2.jpg", "../secret.jpg", str(tmp_path / "secret.jpg")]
    images = find_own_images(tmp_path / "own", paths)
    assert {path: own.read() for path, own in images.items()} == {"coco/1.jpg": b"mine"}
    assert not any(map(is_inside, [*paths[2:], "", "."]))
