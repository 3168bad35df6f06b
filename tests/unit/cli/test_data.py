"""The command `vlmscale data` prepares a dataset and reports it."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from tests.support.upstream import mix, site
from vlmscale.cli import app
from vlmscale.data.llava import prepare as preparation


@pytest.fixture
def table(tmp_path):
    """The table of a small dataset that is served while the test runs."""
    with site(tmp_path / "site") as server:
        yield mix(server.folder, server.url)


def test_the_command_prepares_a_dataset_once(table, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "find_resource", lambda name: table)
    folders = [str(tmp_path / "out"), "--raw", str(tmp_path / "raw"), "--workers", "1"]
    command = ["data", "llava_mix665k", *folders]
    printed = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "11 samples written, 0 skipped" in printed
    assert "repaired: GIF stored as PNG, 1" in printed
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "exists already" in str(again.exception)
    shutil.rmtree(tmp_path / "out")
    report = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert report["rows"] == 11


def test_data_of_photographs_are_left_to_their_study(tmp_path):
    done = CliRunner().invoke(app, ["data", "photo_captions", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "snakemake data --configfile config/real.yaml" in str(done.exception)
