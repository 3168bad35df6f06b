"""Images are read from archives without unpacking them; odd archives are refused."""

import pickle
import random
import stat
import unicodedata
import zipfile

import pytest

from tests.support.upstream import archive, image
from vlmscale.data.llava import archives
from vlmscale.data.llava.archives import find_archived_images, find_own_images, is_inside
from vlmscale.errors import UserError
from vlmscale.images import UnreadableImage


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


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_images_are_read_also_in_other_processes(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "images.zip", "w", method) as out:
        out.writestr("1.jpg", image())
    (stored,) = find_archived_images(tmp_path / "images.zip", ".", ["1.jpg"]).values()
    assert pickle.loads(pickle.dumps(stored)).read() == image()


@pytest.mark.parametrize(
    ("method", "name"),
    [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA"), (93, "zstandard")],
)
def test_compressions_that_unpack_without_bound_are_refused_by_name(tmp_path, method, name):
    file = tmp_path / "images.zip"
    with zipfile.ZipFile(file, "w", method if method < 90 else zipfile.ZIP_STORED) as out:
        out.writestr("1.jpg", image())
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = method
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"compresses '1\.jpg' by {name}.*zip -0"):
        find_archived_images(file, ".", ["1.jpg"])


def find(tmp_path, path, *names, folder="x"):
    """What an archive with differing members of these names has for a path of the records."""
    file = archive(tmp_path / "images.zip", {name: name.encode() for name in names})
    return find_archived_images(file, folder, [path])[path]


@pytest.mark.parametrize(
    ("path", "names", "chosen"),
    [
        ("x/1.jpg", ["a/1.jpg", "a/1.png"], "a/1.jpg"),
        ("x/b/1.jpg", ["a/1.jpg", "b/1.png"], "b/1.png"),
        ("x/b/1.jpg", ["a/b/1.jpg", "b/1.png"], "a/b/1.jpg"),
        ("x/b/1.jpg", ["a/1.jpg", "ab/1.png"], "a/1.jpg"),
        ("x/1.jpg", ["a/1.gif"], "a/1.gif"),
    ],
)
def test_of_several_members_the_one_most_like_the_record_is_chosen(tmp_path, path, names, chosen):
    assert find(tmp_path, path, *names).read() == chosen.encode()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("x/1.jpg", ["a/1.gif", "a/1.png"]),
        ("x/1.jpg", ["a/1.png", "1.gif"]),
        ("x/b/1.jpg", ["a/1.jpg", "c/1.jpg"]),
        ("x/b/1.jpg", ["b/1.gif", "b/1.png", "c/1.jpg"]),
        ("x/b/1.jpg", ["a/b/1.jpg", "c/b/1.jpg"]),
    ],
)
def test_of_several_members_alike_none_is_chosen(tmp_path, path, names):
    with pytest.raises(UnreadableImage, match="one of several in its archive"):
        find(tmp_path, path, *names).read()


def test_copies_of_one_image_may_have_one_name(tmp_path):
    file = archive(tmp_path / "images.zip", {"a/1.jpg": b"same", "b/1.jpg": b"same"})
    assert find_archived_images(file, "x", ["x/1.jpg"])["x/1.jpg"].read() == b"same"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("other", ["NFC", "NFD"])
def test_accents_may_be_composed_or_not(tmp_path, form, other):
    path, name = (unicodedata.normalize(f, "x/caf\u00e9/\u00fcber.jpg") for f in (form, other))
    assert find(tmp_path, path, name).read() == name.encode()
    (tmp_path / "own" / name).parent.mkdir(parents=True)
    (tmp_path / "own" / name).write_bytes(b"mine")
    assert find_own_images(tmp_path / "own", [path])[path].read() == b"mine"


@pytest.mark.parametrize(
    "path", ["a\0.jpg", "\ud800.jpg", "a" * 300 + ".jpg", "a/" * 3000 + "1", "a.jpg/1"]
)
def test_a_path_that_no_file_can_have_is_missing(tmp_path, path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.jpg").write_bytes(b"x")
    assert find_own_images(tmp_path / "own", [path]) == {}
    assert (
        find_archived_images(archive(tmp_path / "a.zip", {"other.jpg": b"x"}), ".", ["b" + path])
        == {}
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_archive_is_read_or_refused(tmp_path, seed):
    rng, file = random.Random(seed), tmp_path / "images.zip"
    content = archive(file, {f"a/{i}.jpg": image(i) for i in range(3)}).read_bytes()
    paths, outcomes = [f"x/{i}.jpg" for i in range(3)], set()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            start = rng.choice([0, content.index(b"PK\x01\x02"), len(content) - 22])
            at = min(start + rng.randrange(60), len(content) - 1)
            damaged[at] = rng.choice([0, 255, rng.randrange(256)])
        file.write_bytes(damaged[: rng.choice([len(damaged)] * 9 + [rng.randrange(len(damaged))])])
        try:
            for path, stored in find_archived_images(file, "x", paths).items():
                try:
                    outcomes.add("read" if stored.read() == image(int(path[2])) else "wrong")
                except UnreadableImage:
                    outcomes.add("damaged")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "damaged", "refused"}


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
