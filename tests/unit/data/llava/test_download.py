"""A file is complete and verified or absent, whatever server, disk and other processes do."""

import errno
import hashlib
import json
import os

import pytest

from tests.support.downloads import left_in, source
from tests.support.drills import SAME
from tests.support.upstream import archive
from vlmscale.data.llava import download
from vlmscale.data.llava.download import download_all, download_file
from vlmscale.data.llava.verify import DownloadError, is_verified, read_record
from vlmscale.errors import UserError
from vlmscale.records.locks import acquire_lock


@pytest.fixture
def server(server):
    """The server with one archive."""
    archive(server.folder / "images.zip", {"a.jpg": os.urandom(300_000)})
    return server


@pytest.fixture
def content(server):
    return (server.folder / "images.zip").read_bytes()


def test_a_cut_connection_resumes(server, content, tmp_path):
    server.trouble["/images.zip"] = lambda times: "cut" if times < 3 else None
    file = download_file(source(server, "images.zip"), tmp_path)
    assert file.read_bytes() == content
    ranges = [asked for _, _, asked in server.requests]
    assert ranges[0] is None
    assert 0 < int(ranges[1][6:-1]) < int(ranges[2][6:-1]) < len(content)
    assert left_in(tmp_path) == ["images.zip", "images.zip.json"]


def resumed_at(server):
    """The byte from which the last request wants a file."""
    return int(server.requests[-1][2].removeprefix("bytes=").removesuffix("-"))


def test_a_killed_download_resumes_in_the_next_process(server, content, tmp_path, cost_of):
    cost, arrived = cost_of("a download is killed"), []
    server.trouble["/images.zip"] = lambda times: "cut" if times == 1 else None

    def killed(done, total):
        arrived.append(done)
        if done >= len(content) // 2:
            raise KeyboardInterrupt

    wanted = source(server, "images.zip")
    with pytest.raises(KeyboardInterrupt):
        download_file(wanted, tmp_path, report=killed)
    assert not (tmp_path / "raw/images.zip").exists()
    assert not is_verified(wanted, tmp_path)
    cost.run(SAME, download_file, wanted, tmp_path)
    assert (tmp_path / "raw/images.zip").read_bytes() == content
    cost.lose(max(arrived) - resumed_at(server), "bytes")


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server, tmp_path):
    server.trouble["/images.zip"] = lambda times: "cut"
    wanted = source(server, "images.zip")
    with pytest.raises(DownloadError):
        download_file(wanted, tmp_path)
    archive(server.folder / "images.zip", {"a.jpg": os.urandom(250_000)})
    server.trouble.clear()
    download_file(wanted, tmp_path)
    assert (tmp_path / "raw/images.zip").read_bytes() == (server.folder / "images.zip").read_bytes()


def test_a_server_without_ranges_sends_everything_again(server, content, tmp_path):
    server.trouble["/images.zip"] = lambda times: "cut" if times == 1 else "no ranges"
    assert download_file(source(server, "images.zip"), tmp_path).read_bytes() == content


def test_a_complete_part_is_not_downloaded_again(server, content, tmp_path, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    wanted = source(server, "images.zip")
    with monkeypatch.context() as patch:
        patch.setattr(download, "verify", killed)
        with pytest.raises(KeyboardInterrupt):
            download_file(wanted, tmp_path)
    assert download_file(wanted, tmp_path).read_bytes() == content
    assert server.requests[-1][2] == f"bytes={len(content)}-"  # nothing was sent again


def test_a_wrong_checksum_is_discarded_and_the_mirror_tried(server, content, tmp_path):
    archive(server.folder / "bad.zip", {"a.jpg": b"other"})
    right = hashlib.sha256(content).hexdigest()
    file = download_file(source(server, "bad.zip", "images.zip", sha256=right), tmp_path)
    assert file.read_bytes() == content
    assert read_record(file)["checked_by"] == "resources/datasets.csv"
    assert read_record(file)["url"].endswith("images.zip")


@pytest.mark.parametrize(
    ("expected", "words"), [({"sha256": "0" * 64}, "SHA-256"), ({"bytes": 7}, "instead of 7")]
)
def test_a_file_that_is_wrong_on_every_mirror_is_not_kept(server, tmp_path, expected, words):
    with pytest.raises(DownloadError, match=words):
        download_file(source(server, "images.zip", **expected), tmp_path)
    assert left_in(tmp_path) == []


def test_a_missing_file_comes_from_its_mirror(server, content, tmp_path):
    wanted = source(server, "gone.zip", "images.zip")
    assert download_all([wanted], tmp_path) == {}
    assert (tmp_path / "raw/images.zip").read_bytes() == content
    assert [path for _, path, _ in server.requests] == ["/gone.zip", "/images.zip"]  # 404: no retry


def test_own_mirrors_are_tried_first(server, content, tmp_path):
    archive(server.folder / "mine/raw/images.zip", {"b.jpg": b"mine"})
    file = download_file(source(server, "images.zip"), tmp_path, mirrors=[f"{server.url}/mine/"])
    assert file.read_bytes() != content
    assert len(server.requests) == 1


def test_all_reasons_are_named(server, tmp_path):
    server.trouble["/images.zip"] = lambda times: "500"
    wanted = source(server, "gone.zip", "images.zip")
    reasons = download_all([wanted], tmp_path)[wanted]
    assert "gone.zip: the server answers 404" in reasons
    assert "images.zip: the server answers 500, 5 times" in reasons


@pytest.mark.slow
def test_a_silent_server_is_left_for_the_mirror(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    archive(server.folder / "slow.zip", {"a.jpg": os.urandom(200_000)})
    server.trouble["/slow.zip"] = lambda times: "stall"
    wanted = source(server, "slow.zip", "images.zip")
    assert download_file(wanted, tmp_path).read_bytes() == content


def test_a_slow_server_is_left_for_the_mirror(server, content, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    archive(server.folder / "slow.zip", {"a.jpg": os.urandom(200_000)})
    server.trouble["/slow.zip"] = lambda times: "trickle"
    wanted = source(server, "slow.zip", "images.zip")
    assert download_file(wanted, tmp_path).read_bytes() == content
    with pytest.raises(DownloadError, match=r"sent \d+ bytes in 0\.2 s"):
        download_file(source(server, "slow.zip", file="raw/2.zip"), tmp_path)


def test_a_full_disk_is_named_and_the_download_resumes_later(server, content, tmp_path, cost_of):
    cost, arrived = cost_of("the disk is full while data are downloaded"), []
    wanted = source(server, "images.zip")

    def full(done, total):
        arrived.append(done)
        if done:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"is full.*Make room and run again"):
        download_file(wanted, tmp_path, report=full)
    assert not is_verified(wanted, tmp_path)
    assert not (tmp_path / "raw/images.zip").exists()
    cost.change("make room")
    assert cost.run(SAME, download_file, wanted, tmp_path).read_bytes() == content
    cost.lose(max(arrived) - resumed_at(server), "bytes")


def test_a_full_disk_stops_the_other_downloads(server, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    both = [source(server, "images.zip"), source(server, "images.zip", file="raw/2.zip")]
    with pytest.raises(UserError, match="is full"):
        download_all(both, tmp_path)
    assert not any(is_verified(each, tmp_path) for each in both)


def test_two_processes_cannot_write_one_file(server, tmp_path):
    (tmp_path / "raw").mkdir()
    lock = acquire_lock(tmp_path / "raw/images.zip.part.lock", "")
    with lock, pytest.raises(UserError, match="another process"):
        download_file(source(server, "images.zip"), tmp_path)


def test_a_file_of_the_hub_is_pinned_verified_and_resumed(server, content, tmp_path, monkeypatch):
    """Its revision is pinned to a commit, its checksum is the hub's, it resumes like others, and a
    token goes to the hub alone.
    """
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub")
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    (server.folder / "datasets/own/er/resolve/v1").mkdir(parents=True)
    (server.folder / "datasets/own/er/resolve/v1/images.zip").write_bytes(content)
    server.trouble["/images.zip"] = lambda times: "cut" if times == 1 else None
    file = download_file(source(server, "hf://datasets/own/er@v1/images.zip"), tmp_path)
    assert file.read_bytes() == content
    hub = "/hub/datasets/own/er/resolve"
    assert [asked[:2] for asked in server.requests] == [
        ("HEAD", f"{hub}/v1/images.zip"),
        *[("GET", f"{hub}/commit/images.zip"), ("GET", "/images.zip")] * 2,
    ]
    assert server.requests[-1][2] is not None  # the rest only, at the other address, too
    assert server.trusted == {f"{hub}/v1/images.zip", f"{hub}/commit/images.zip"}
    record = json.loads((tmp_path / "raw/images.zip.json").read_text())
    assert (record["checked_by"], record["revision"]) == ("the hub", "commit")


def test_a_file_that_differs_from_the_hub_s_checksum_is_discarded(
    server, content, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub")
    (server.folder / "datasets/own/er/resolve/v1").mkdir(parents=True)
    archive(server.folder / "datasets/own/er/resolve/v1/images.zip", {"a.jpg": b"the right one"})
    with pytest.raises(DownloadError, match="as in the hub"):
        download_file(source(server, "hf://datasets/own/er@v1/images.zip"), tmp_path)
    assert left_in(tmp_path) == []


def test_a_file_missing_on_the_hub_comes_from_its_mirror(server, content, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub")
    wanted = source(server, "hf://datasets/own/er@v1/gone.zip", "images.zip")
    assert download_file(wanted, tmp_path).read_bytes() == content


@pytest.mark.parametrize(
    "mark",
    ["me:s3cret@{}/mine", "s3cret@{}/mine", "{}/mine?token=s3cret", "a:s3cret@{}/mine/?b=s3cret"],
)
def test_credentials_of_a_mirror_are_used_and_never_written(server, tmp_path, caplog, mark):
    caplog.set_level("DEBUG", "vlmscale")
    host = server.url.removeprefix("http://")
    mirror = "http://" + mark.format(host)
    wanted = source(server, "gone.zip")
    with pytest.raises(DownloadError) as refusal:
        download_file(wanted, tmp_path, mirrors=[mirror])
    assert "s3cret" not in str(refusal.value)
    assert f"{host}/mine/raw/images.zip" in str(refusal.value)
    archive(server.folder / "mine/raw/images.zip", {"b.jpg": b"mine"})
    download_file(wanted, tmp_path, mirrors=[mirror])
    query = "?" in mark
    assert ("s3cret" in server.requests[-1][1]) == query
    assert bool(server.trusted) == ("@" in mark)
    written = [file for file in tmp_path.rglob("raw/*") if file.suffix != ".zip"]
    assert written
    assert not any("s3cret" in file.read_text() for file in written)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "mirror",
    [
        "/data/llava",
        "host/llava",
        "ftp://host/x",
        "http://[",
        "file:///data",
        "http://a b",
        "https://",
        "",
    ],
)
def test_a_mirror_that_is_no_address_is_refused_at_once(server, tmp_path, mirror):
    with pytest.raises(UserError, match=r"the mirror .* is no address of a web server"):
        download_file(source(server, "images.zip"), tmp_path, mirrors=[mirror])
    assert server.requests == []
