"""Fetching real benchmarks requests only what is missing, checks it, and keeps what has arrived."""

import json
import shutil

import pytest
from datasets import load_from_disk

from tests.support.benchmark_cases import CASES
from tests.support.benchmark_files import write
from tests.support.hub import Hub
from tests.support.upstream import site
from vlmscale.errors import UserError
from vlmscale.evaluation import fetch
from vlmscale.evaluation.arrow_copies import arrow_folder
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.spec import read_benchmarks


def benchmark(name):
    """A row of the table with the number of questions that the test hub has."""
    (asked,) = read_benchmarks([name])
    return asked.model_copy(update={"questions": len(CASES[name][0])})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with a few questions of GQA, ChartQA and POPE."""
    datasets = tmp_path / "site/repositories/datasets"
    for name in ("gqa", "chartqa", "pope"):
        write(benchmark(name), [row for row, _, _ in CASES[name][0]], datasets)
    for made in datasets.rglob("*"):
        if made.name == "manifest.json":
            made.unlink()
        elif made.name.endswith("-arrow"):
            shutil.rmtree(made)
    with site(tmp_path / "site", Hub) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub")
        yield server


def fetched(hub):
    """The files that were requested since the last call, by name."""
    files = [path.split("/")[-1] for command, path, _ in hub.requests if command == "HEAD"]
    hub.requests.clear()
    return sorted(files)


def test_downloads_once_and_records_the_revision(hub, tmp_path):
    asked, data = benchmark("gqa"), tmp_path / "data"
    fetch.fetch_benchmark(asked, data)
    part = "testdev-0000{}-of-0000{}.parquet".format
    assert fetched(hub) == [part(0, 1), part(0, 2), part(1, 2)]  # one of images, two of questions
    fetch.fetch_benchmark(asked, data)
    assert fetched(hub) == []
    for folder in ("testdev_balanced_instructions", "testdev_balanced_images"):
        manifest = json.loads((data / asked.dataset / folder / "manifest.json").read_text())
        assert manifest["revision"] == Hub.commit
    assert len(find_question_files([asked], data)["gqa"]) == 2
    arrow = load_from_disk(str(arrow_folder(asked.folder(data), asked.split)))
    assert [row["id"] for row in arrow["testdev"]] == ["1", "2", "3"]


def test_requests_the_pinned_revision(hub, tmp_path):
    fetch.fetch_benchmark(
        benchmark("pope").model_copy(update={"revision": "a" * 40}), tmp_path / "data"
    )
    assert all("a" * 40 in path for _, path, _ in hub.requests if "/hub/" in path)


def test_refuses_an_incomplete_split(hub, tmp_path):
    next((tmp_path / "site").rglob("POPE/data/test-00001-of-00002.parquet")).unlink()
    with pytest.raises(UserError, match=f"POPE at {Hub.commit} has no complete data/test-"):
        fetch.fetch_benchmark(benchmark("pope"), tmp_path / "data")


def test_counts_copied_files_and_does_not_fetch_them(hub, tmp_path):
    asked = benchmark("chartqa")
    write(asked, [row for row, _, _ in CASES["chartqa"][0]], tmp_path)
    manifest = asked.folder(tmp_path) / "manifest.json"
    manifest.unlink()
    with pytest.raises(UserError, match="has 4 questions, but chartqa has 2500"):
        fetch.fetch_benchmark(asked.model_copy(update={"questions": 2500}), tmp_path)
    assert not manifest.exists()
    fetch.fetch_benchmark(asked, tmp_path)
    assert json.loads(manifest.read_text())["revision"] is None
    assert hub.requests == []


def test_writes_all_or_none_and_keeps_what_has_arrived(hub, tmp_path):
    """The second dataset is missing at first."""
    both = [benchmark("pope"), benchmark("chartqa")]
    folder, work = tmp_path / "data", tmp_path / "work"
    place = tmp_path / "site/repositories/datasets/lmms-lab-encoder/ChartQA"
    place.rename(tmp_path / "away")
    with pytest.raises(
        UserError, match=r"(?s)ChartQA could not be fetched.*Fetching needs the network"
    ):
        fetch.fetch_benchmarks(both, folder, work=work)
    assert not folder.exists()
    (tmp_path / "away").rename(place)
    fetched(hub)
    fetch.fetch_benchmarks(both, folder, work=work)
    assert fetched(hub) == ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]
    assert set(find_question_files(both, folder)) == {"pope", "chartqa"}
    assert not work.exists()


def test_says_what_to_do_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="lmms-lab-encoder/POPE could not be fetched"):
        fetch.fetch_benchmark(benchmark("pope"), tmp_path / "data")


def test_refuses_a_folder_without_its_arrow_copy(tmp_path):
    asked = benchmark("chartqa")
    write(asked, [row for row, _, _ in CASES["chartqa"][0]], tmp_path)
    shutil.rmtree(arrow_folder(asked.folder(tmp_path), asked.split))
    with pytest.raises(
        UserError, match=r"test-arrow, which lmms-eval reads, is missing.*fetch .* chartqa"
    ):
        find_question_files([asked], tmp_path)
    fetch.fetch_benchmark(asked, tmp_path)
    assert find_question_files([asked], tmp_path)
