"""A site with a database of accounts: the profile works unedited, and `sacct` tells how jobs end."""

import pytest

from tests.slurm.cluster import ACCOUNT
from tests.slurm.study import OUT, checkout


@pytest.fixture(scope="module")
def study(site, tmp_path_factory):
    """The study's data and tokenizer, made by jobs of the site."""
    study = checkout(tmp_path_factory.mktemp("site"), site)
    study.finish(study.start("data", f"{OUT}/backbones/tokenizer"))
    return study


def test_jobs_go_to_the_default_account_and_partition(study, site):
    shown = site.run(
        "sacct",
        "--allusers",
        "--allocations",
        "--noheader",
        "--parsable2",
        "--format=account,partition,state",
    ).stdout.splitlines()
    assert len(shown) == 6
    assert set(shown) == {f"{ACCOUNT}|main|COMPLETED"}


def test_another_account_is_refused_by_name(study, site):
    driver = study.start("backbones", "--set-resources", "train_tower:slurm_account=nobody")
    assert driver.wait(300) != 0
    printed = (study.path / "driver.log").read_text()
    assert "account nobody appears to be invalid" in printed
