"""The table of files is complete, and says which file has an image."""

import re

import pytest

from vlmscale.data.llava.sources import RECORDS, match_folder, read_sources
from vlmscale.errors import UserError
from vlmscale.resources import find_resource


def test_an_unknown_dataset_is_refused_with_the_choices(run):
    with pytest.raises(UserError, match="Choose one of llava_mix665k, llava_pretrain"):
        run("llava", find_resource("datasets.csv"))


@pytest.mark.parametrize("dataset", ["llava_pretrain", "llava_mix665k"])
def test_every_file_has_pinned_addresses_and_a_licence(dataset):
    sources = read_sources(find_resource("datasets.csv"), dataset)
    assert sources[0].holds == RECORDS
    assert sources[0].count == {"llava_pretrain": 558_128, "llava_mix665k": 665_298}[dataset]
    for source in sources:
        assert all(re.match(r"https?://|hf://datasets/[^@]+@\w+/", url) for url in source.urls)
        assert source.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", source.sha256)
        assert source.bytes is None or abs(source.bytes / 1e9 - source.gigabytes) < 0.1
        assert source.licence
    assert len({source.file for source in sources}) == len(sources)


def test_an_image_path_leads_to_its_folder():
    folders = [
        source.holds for source in read_sources(find_resource("datasets.csv"), "llava_mix665k")
    ]
    assert match_folder("vg/VG_100K_2/1.jpg", folders) == "vg/VG_100K_2"
    assert match_folder("vg/VG_100K/1.jpg", folders) == "vg/VG_100K"
    assert match_folder("elsewhere/1.jpg", folders) is None
    assert match_folder("00012/1.jpg", ["."]) == "."
