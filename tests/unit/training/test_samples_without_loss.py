"""Samples without an answer within `max_length` are reported and contribute no loss."""

import json
import math

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from vlmscale.data.columns import SAMPLE
from vlmscale.data.shards import list_shards, write_split
from vlmscale.errors import UserError
from vlmscale.training.backbones import TextLlm
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
    """trained(name, rows, **recipe) -> run.json; by default after a step over all of `rows` at once."""

    def train(name, rows, template="qa", execution=None, **changes):
        write_split(tmp_path / "data" / name, {"shard-00000": rows}, SAMPLE, {})
        recipe = {"steps": 1, "batch_size": len(rows), "learning_rate": 1e-3, "max_length": LENGTH}
        recipe |= changes
        run = spec(
            name,
            data=tmp_path / "data" / name,
            recipe=recipe,
            template=template,
            execution=execution or {},
        )
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


@pytest.mark.parametrize("execution", [{}, {"micro_batch_size": 1}, {"workers": 1}])
@pytest.mark.parametrize("method", ["shuffled", "grouped"])
def test_a_step_in_which_nothing_is_learned_is_counted_and_goes_on(
    trained, rows, execution, method
):
    """Batches of one sample, so each late one has a step of its own; its loss is 0, not NaN."""
    mixed = [*rows[:3], *map(late, rows[:3])]
    record = trained("mixed", mixed, execution=execution, batch_size=1, steps=12, order=method)
    losses = [loss for _, loss in record["losses"]]
    assert record["steps_without_loss"] == 6
    assert sorted(loss == 0 for loss in losses) == [False] * 6 + [True] * 6
    assert all(map(math.isfinite, losses))


def test_a_text_only_batch_without_an_answer_has_loss_0(backbones):
    llm = AutoModelForCausalLM.from_pretrained(backbones["llm"])
    ids = torch.arange(8).reshape(2, 4)
    mask, labels = torch.ones_like(ids), torch.full_like(ids, -100)
    loss = TextLlm(llm)(ids, mask, labels)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in llm.parameters())
