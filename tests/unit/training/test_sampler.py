"""Grouped batches have one modality and similar lengths, as in LLaVA-1.5's stage 2."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.trainings import weights
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.settings import Tower
from vlmscale.training import loop
from vlmscale.training.data import Conversations
from vlmscale.training.sampler import GroupedSampler, group_samples
from vlmscale.training.stages import train_stage


def order(lengths, micro_batch, parts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return group_samples(lengths, micro_batch=micro_batch, parts=parts, generator=generator)


def batches(indices, size):
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def modalities(lengths, batch):
    return {lengths[i] > 0 for i in batch}


def test_assigns_the_longest_sample_to_the_shortest_part_with_room():
    # 9 | 8; then 5 joins 8, 4 joins 9; 13 against 13: the first; the second has the only room left.
    assert order([9, 8, 5, 4, 2, 1], 3, 2) == [0, 3, 4, 1, 2, 5]
    # 9, 8, 5 open three parts; 4 goes to 5, 2 to 8, and 1 where room is left.
    assert order([9, 8, 5, 4, 2, 1], 2, 3) == [0, 5, 1, 4, 2, 3]
    # Samples that do not divide evenly go to the parts in turn.
    assert order([9, 8, 5, 4, 2], 3, 2) == [0, 2, 4, 1, 3]


def test_batches_have_one_modality_and_the_longer_sample_first():
    """Four images and two texts in batches of two: the last of either modality comes at the end."""
    lengths = [30, -5, 10, 20, -7, 40]
    found = order(lengths, micro_batch=2, parts=1)
    assert modalities(lengths, found[:2]) == modalities(lengths, found[2:4]) == {True}
    assert found[4:] == [4, 1]
    assert all(lengths[a] > lengths[b] for a, b in batches(found[:4], 2))


def test_short_batches_come_last_and_images_first():
    lengths = [3, 1, 2, -2, -1, 5, 4]  # batches of four: five images, two texts
    found = order(lengths, micro_batch=2, parts=2)
    assert sorted(abs(lengths[i]) for i in found[:4] + found[4:5]) == [1, 2, 3, 4, 5]
    assert lengths[found[4]] > 0
    assert set(found[5:]) == {3, 4}


@given(
    lengths=st.lists(
        st.integers(1, 50).flatmap(lambda n: st.sampled_from([n, n, -n])), max_size=90
    ),
    micro_batch=st.integers(1, 6),
    parts=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_every_sample_once_and_at_most_one_batch_of_both(lengths, micro_batch, parts, seed):
    found = order(lengths, micro_batch, parts, seed)
    assert sorted(found) == list(range(len(lengths)))
    assert found == order(lengths, micro_batch, parts, seed)
    for size in (micro_batch, micro_batch * parts):
        mixed = [b for b in batches(found, size) if len(modalities(lengths, b)) == 2]
        assert len(mixed) <= 1
        assert not mixed or mixed[0] in batches(found, size)[-2:]


def test_parts_of_a_global_batch_have_similar_lengths():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(5, 600, (4096,), generator=generator).tolist()
    grouped = batches(order(lengths, 16, 8), 128)
    for batch in grouped[:-1]:
        sums = [sum(lengths[i] for i in part) for part in batches(batch, 16)]
        assert max(sums) < 1.05 * min(sums)
    # Which samples share a batch is random: seeds and global batches differ.
    assert order(lengths, 16, 8, seed=1) != order(lengths, 16, 8, seed=0)
    assert {lengths[i] for i in grouped[0]} != {lengths[i] for i in grouped[1]}


def test_epochs_differ_and_processes_agree():
    lengths = [3, 1, 2, -2, -1, 5, 4] * 5
    one, other = (GroupedSampler(lengths, micro_batch=2, parts=2, seed=7) for _ in range(2))
    assert len(one) == len(lengths)
    assert list(one) == list(one) == list(other)
    one.set_epoch(1)
    assert list(one) != list(other)
    other.set_epoch(1)
    assert list(one) == list(other)


@pytest.fixture
def seen(monkeypatch):
    """Ids of the samples of each batch that training sees; set `dies_at` to end it at that step."""
    computed = loop.BatchTrainer.compute_loss

    class Seen(list):
        dies_at = None

    found = Seen()

    def compute_loss(self, model, inputs, *args, **kwargs):
        if self.state.global_step == found.dies_at:
            raise KeyboardInterrupt
        found.append(list(inputs["sample_ids"]))
        return computed(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(loop.BatchTrainer, "compute_loss", compute_loss)
    return found


@pytest.mark.slow
def test_training_follows_the_order_also_when_resumed(spec, seen):
    recipe = {"epochs": 2, "batch_size": 6, "learning_rate": 1e-3, "checkpoint_every": 5}
    whole, killed = (spec(name, recipe={**recipe, "order": "grouped"}) for name in ("a", "b"))
    train_stage(whole)
    expected = list(seen)
    assert len(expected) == 16
    first, second = expected[:8], expected[8:]
    assert first != second
    samples = Conversations(
        whole.data,
        load_tokenizer(whole.llm),
        template="qa",
        visual_tokens=4,
        query_turn="first",
        max_length=512,
        apart=False,
        seed=0,
    )
    words = dict(zip(samples.texts["id"].to_pylist(), samples.lengths, strict=True))
    assert len(words) == 48
    for epoch in (first, second):
        assert sorted(i for batch in epoch for i in batch) == sorted(words)
        assert sum(len({words[i] > 0 for i in batch}) == 2 for batch in epoch) <= 1
    assert min(words.values()) < 0 < max(words.values())

    seen.dies_at = 12
    with pytest.raises(KeyboardInterrupt):
        train_stage(killed)
    seen.clear()
    seen.dies_at = None
    train_stage(killed)
    assert seen == expected[10:]  # from the checkpoint after ten steps, within the second epoch
    assert weights(killed) == weights(whole)


def test_a_tower_has_no_conversations_to_group(study):
    raw = study.tower.model_dump()
    with pytest.raises(ValidationError, match="the tower sees none"):
        Tower.model_validate({**raw, "recipe": {**raw["recipe"], "order": "grouped"}})
