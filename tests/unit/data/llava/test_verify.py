"""A download is what it should be, by size, checksum and structure, or it is refused."""

import hashlib
import os
import tarfile

import pytest

from tests.support.downloads import left_in, source
from tests.support.upstream import archive
from vlmscale.data.llava.download import download_file
from vlmscale.data.llava.verify import DownloadError, read_record
from vlmscale.errors import UserError


@pytest.fixture
def server(server):
    """The server with one archive."""
    archive(server.folder / "images.zip", {"a.jpg": os.urandom(300_000)})
    return server


@pytest.fixture
def content(server):
    return (server.folder / "images.zip").read_bytes()


def test_an_error_page_is_refused(server, tmp_path):
    (server.folder / "page.zip").write_text("<html>Not found</html>")
    with pytest.raises(DownloadError, match="no zip archive"):
        download_file(source(server, "page.zip"), tmp_path)
    (server.folder / "half.json").write_text('[{"id": 1}, {"id"')
    with pytest.raises(DownloadError, match="no JSON list"):
        download_file(source(server, "half.json", holds="records"), tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("w", "a tar archive"),
        ("w:gz", "compressed by gzip"),
        ("w:bz2", "compressed by bzip2"),
        ("w:xz", "compressed by xz"),
    ],
)
def test_another_kind_of_archive_is_named(server, tmp_path, mode, kind):
    (server.folder / "a.jpg").write_bytes(os.urandom(1000))
    with tarfile.open(server.folder / "images.zip", mode) as out:
        out.add(server.folder / "a.jpg", "a.jpg")
    with pytest.raises(DownloadError, match=f"it is no zip archive, but {kind}: pack .* zip -0"):
        download_file(source(server, "images.zip"), tmp_path)


def test_the_first_download_is_trusted_and_later_ones_must_equal_it(server, content, tmp_path):
    wanted = source(server, "images.zip")
    file = download_file(wanted, tmp_path)
    assert read_record(file)["checked_by"] == "first use"
    assert read_record(file)["sha256"] == hashlib.sha256(content).hexdigest()
    file.unlink()
    archive(server.folder / "images.zip", {"a.jpg": b"changed"})
    with pytest.raises(DownloadError, match="written at the first download"):
        download_file(wanted, tmp_path)


def test_a_verified_file_is_not_requested_again(server, tmp_path):
    wanted = source(server, "images.zip")
    download_file(wanted, tmp_path)
    server.requests.clear()
    download_file(wanted, tmp_path)
    assert server.requests == []


def test_a_file_put_there_by_hand_is_verified(server, content, tmp_path):
    right = source(server, "gone.zip", sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/images.zip").write_bytes(content[:-10])
    with pytest.raises(UserError, match=r"cannot be used.*SHA-256"):
        download_file(right, tmp_path)
    (tmp_path / "raw/images.zip").write_bytes(content)
    download_file(right, tmp_path)
    assert server.requests == []
