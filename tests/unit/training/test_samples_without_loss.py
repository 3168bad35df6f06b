"""Samples without an answer within `max_length` are reported and contribute no loss."""

import json

import pyarrow.parquet as pq
import pytest

from vlmscale.data.shards import SAMPLE, list_shards, write_split
from vlmscale.errors import UserError
from vlmscale.training.stages import train_stage

pytestmark = pytest.mark.slow
LENGTH = 60


def late(row):
    """The sample, its question now longer than `LENGTH` tokens."""
    question, *rest = row["conversations"]
    first, newline, asked = question["value"].rpartition("\n")
    longer = {"from": "human", "value": f"{first}{newline}{'how ' * LENGTH}{asked}"}
    return {**row, "id": f"late-{row['id']}", "conversations": [longer, *rest]}


@pytest.fixture
def trained(spec, splits, tmp_path):
    """trained(name, rows) -> what run.json says after a step over all of `rows` at once."""

    def train(name, rows, template="qa"):
        write_split(tmp_path / "data" / name, {"shard-00000": rows}, SAMPLE, {})
        recipe = {"steps": 1, "batch_size": len(rows), "learning_rate": 1e-3, "max_length": LENGTH}
        run = spec(name, data=tmp_path / "data" / name, recipe=recipe, template=template)
        train_stage(run)
        return json.loads(run.record.read_text())

    return train


@pytest.fixture
def rows(splits):
    return [r for f in list_shards(splits["stage2"]) for r in pq.read_table(f).to_pylist()][:8]


def test_they_are_reported_and_change_no_loss(trained, rows, capsys):
    usual = trained("usual", rows)
    assert "no answer" not in capsys.readouterr().out
    more = trained("more", [*rows[:4], late(rows[0]), *rows[4:]])
    said = capsys.readouterr().out
    assert f"1 of 9 samples, such as late-{rows[0]['id']}, have no answer in their first" in said
    assert (usual["samples_without_loss"], more["samples_without_loss"]) == (0, 1)
    assert more["samples"] == 9
    assert more["losses"][0][1] == pytest.approx(usual["losses"][0][1], rel=1e-5)
    assert more["tokens"] == usual["tokens"]


def test_a_split_of_nothing_else_is_refused(trained, rows):
    with pytest.raises(UserError, match="no sample has an answer in its first 60 tokens"):
        trained("none", [late(row) for row in rows])
