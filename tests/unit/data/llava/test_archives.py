"""Archives are read, never unpacked; odd ones are refused; odd images are put right, sound ones kept."""

import hashlib
import io
import json
import pickle
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support.upstream import archive, image, record
from vlmscale.data.images import compute_image_key, decode_image
from vlmscale.data.llava import archives, records
from vlmscale.data.llava.archives import (
    UnreadableImage,
    find_archived_images,
    find_own_images,
    is_inside,
)
from vlmscale.data.llava.image_repair import repair_image
from vlmscale.data.llava.records import UnusableSample, clean_conversation, read_records
from vlmscale.errors import UserError


def test_members_are_found_by_name_whatever_the_folders_and_extension(tmp_path):
    content = {
        "deep/er/1.gif": b"one",
        "2.jpg": b"two",
        "2.png": b"other",
        "__MACOSX/._2.jpg": b"x",
    }
    file = archive(tmp_path / "images.zip", content)
    found = find_archived_images(file, "ocr/images", [f"ocr/images/{i}.jpg" for i in (1, 2, 3)])
    assert {path: member.read() for path, member in found.items()} == {
        "ocr/images/1.jpg": b"one",
        "ocr/images/2.jpg": b"two",
    }


def test_equal_names_in_different_folders_are_told_apart(tmp_path):
    file = archive(tmp_path / "images.zip", {"00000/1.jpg": b"a", "00001/1.jpg": b"b"})
    found = find_archived_images(file, ".", ["00000/1.jpg", "00001/1.jpg"])
    assert [found[path].read() for path in sorted(found)] == [b"a", b"b"]


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


def test_a_bomb_is_refused(tmp_path, monkeypatch):
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


def test_a_member_that_lies_about_its_size_is_not_unpacked_further(tmp_path):
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


def test_a_member_that_promises_more_than_it_has(tmp_path):
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
    (found,) = find_archived_images(tmp_path / "images.zip", ".", ["1.jpg"]).values()
    assert pickle.loads(pickle.dumps(found)).read() == image()


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
    found = find_own_images(tmp_path / "own", paths)
    assert {path: loose.read() for path, loose in found.items()} == {"coco/1.jpg": b"mine"}
    assert not any(map(is_inside, [*paths[2:], "", "."]))


@pytest.mark.parametrize(("mode", "form"), [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG")])
def test_sound_images_keep_their_bytes(mode, form):
    content = image(mode=mode, form=form)
    made = repair_image(content)
    assert (made.content, made.repair, made.mode) == (content, "", mode)
    assert made.key == compute_image_key(decode_image(content, "here"))


@pytest.mark.parametrize(
    ("mode", "form", "words"),
    [
        ("P", "GIF", "GIF stored as PNG"),
        ("RGB", "WEBP", "WEBP stored as PNG"),
        ("RGB", "BMP", "BMP stored as PNG"),
        ("P", "PNG", "mode P stored as RGB"),
        ("RGBA", "PNG", "mode RGBA stored as RGB"),
        ("1", "PNG", "mode 1 stored as RGB"),
        ("CMYK", "JPEG", "mode CMYK stored as RGB"),
    ],
)
def test_odd_images_become_png_with_the_same_pixels(mode, form, words):
    content = image(mode=mode, form=form)
    made = repair_image(content)
    assert made.repair == words
    stored = Image.open(io.BytesIO(made.content))
    assert (stored.format, stored.mode) == ("PNG", "RGB")
    assert compute_image_key(stored) == compute_image_key(decode_image(content, "here")) == made.key
    assert (made.width, made.height, made.mode) == (32, 24, mode)


def test_sixteen_bits_are_scaled_not_cut_off():
    content = image(mode="I;16", form="PNG")
    deep = np.asarray(Image.open(io.BytesIO(content)))
    shallow = np.asarray(Image.open(io.BytesIO(repair_image(content).content)))
    assert (shallow == (deep // 256)[..., None]).all()
    assert 0 < shallow.min() + 1 < shallow.max() <= 255


def test_the_first_frame_of_a_moving_gif():
    frames = [Image.new("P", (8, 8), colour) for colour in (3, 9)]
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content.getvalue())) as first:
        assert repair_image(content.getvalue()).key == compute_image_key(first.convert("RGB"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not decode"),
        (b"<html>gone</html>", "does not decode"),
        (image()[:-200], "truncated"),
        (image(form="PNG")[:-400], "does not decode"),
    ],
)
def test_what_is_no_image(content, words, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries leave it
    with pytest.raises(UnreadableImage, match=words):
        repair_image(content)


def test_an_image_that_would_fill_the_memory():
    content = io.BytesIO()
    Image.new("1", (12_000, 9_000)).save(content, "PNG")
    with pytest.raises(UnreadableImage, match="too large"):
        repair_image(content.getvalue())


@pytest.mark.parametrize("chunk", [1, 7, 100, 2**24])
def test_records_are_read_one_by_one(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    written = [record("1", "a.jpg", "é \u2028 ]", "}{"), record("2", None, "x" * 500, '"')]
    for indent in (None, 2):
        (tmp_path / "r.json").write_text(json.dumps(written, indent=indent, ensure_ascii=False))
        assert list(read_records(tmp_path / "r.json")) == written


@pytest.mark.parametrize("content", ['[{"id": 1}', '[{"id": 1}, {"id"', '{"id": 1}', "[1, 2]", ""])
def test_records_that_end_early_or_are_something_else(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UserError, match=r"r\.json .*Delete"):
        list(read_records(tmp_path / "r.json"))


def values(turns):
    return [turn["value"] for turn in turns]


def test_the_mark_stands_first_in_the_first_turn():
    turns, repairs = clean_conversation(record("1", "a.jpg", "what ?\n<image>", "a", "and ?", "b"))
    assert values(turns) == ["<image>\nwhat ?", "a", "and ?", "b"]
    assert not repairs


def test_what_is_put_right_in_conversations():
    turns, repairs = clean_conversation(record("1", None, "an <image> tag", "a \ud83d b", "and ?"))
    assert values(turns) == ["an <image > tag", "a \ufffd b"]
    assert sum(repairs.values()) == 3
    turns, repairs = clean_conversation(record("1", "a.jpg", "<image> or <image>", "b"))
    assert values(turns) == ["<image>\nor", "b"]
    assert sum(repairs.values()) == 1
    answer_first = record("1", None, "x", "hello", "q", "a")
    answer_first["conversations"] = answer_first["conversations"][1:]
    assert values(clean_conversation(answer_first)[0]) == ["q", "a"]


@pytest.mark.parametrize(
    "turns",
    [
        [],
        None,
        [{"from": "human", "value": "q"}],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": None}],
        [{"from": "system", "value": "q"}, {"from": "gpt", "value": "a"}],
        [{"from": who, "value": "q"} for who in ("human", "human", "gpt", "gpt")],
    ],
)
def test_what_cannot_be_learned_from(turns):
    with pytest.raises(UnusableSample):
        clean_conversation({"id": "1", "conversations": turns})


def test_nothing_is_lost_between_archive_and_split(tmp_path):
    content = image(5)
    file = archive(tmp_path / "i.zip", {"1.jpg": content})
    read = find_archived_images(file, ".", ["1.jpg"])["1.jpg"].read()
    assert hashlib.sha256(read).digest() == hashlib.sha256(content).digest()
