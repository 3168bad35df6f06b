"""Disk space and time are estimated before anything is downloaded."""

import re
import shutil
from collections import namedtuple

import pytest

from vlmscale.data.llava.estimates import estimate_dataset
from vlmscale.data.llava.sources import read_sources
from vlmscale.errors import UserError
from vlmscale.resources import find_resource


def test_a_disk_that_is_too_small_is_refused_first(server, run, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 100e9))
    with pytest.raises(UserError, match=r"has 100\.0 GB free, 17\d\.\d GB are needed"):
        run("llava_mix665k", find_resource("datasets.csv"))
    assert server.requests == []
    assert not (tmp_path / "raw").exists()


def test_an_estimate_names_disk_and_time(tmp_path):
    sources = read_sources(find_resource("datasets.csv"), "llava_mix665k")
    text = estimate_dataset(sources, tmp_path / "raw", tmp_path / "out", 8).text
    assert re.match(
        r"llava_mix665k: about 73 GB to download into \S+raw \(24 min at 50 MB/s\)", text
    )
    assert text.endswith(f"93 GB to write to {tmp_path / 'out'} (9 min with 8 processes).")
