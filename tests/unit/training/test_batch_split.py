"""A split batch has every sample once, in order, in the fewest passes that the limit allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmscale.errors import UserError
from vlmscale.training.batch_split import split_batch


@given(
    own=st.integers(1, 40),
    processes=st.integers(1, 9),
    limit=st.none() | st.integers(1, 50),
    short=st.integers(0, 400),
)
def test_every_sample_is_taken_once_and_in_order(own, processes, limit, short):
    mine = split_batch(own * processes, processes, limit)
    assert mine.passes == -(-own // min(limit or own, own))
    for size in (mine.batch_size, short % mine.batch_size):
        batch = list(range(size))
        parts = [list(mine.micro_batches(batch, process)) for process in range(processes)]
        assert [sample for own in parts for part in own for sample in part] == batch
        assert {len(own) for own in parts} == {mine.passes}
        assert max(len(part) for own in parts for part in own) <= mine.micro_batch_size
    assert mine.micro_batch_size <= (limit or own)


def test_one_process_gets_the_whole_batch():
    (part,) = split_batch(8, 1, None).micro_batches([5, 3, 4], 0)
    assert part == [5, 3, 4]


def test_refuses_processes_that_cannot_share_equally():
    with pytest.raises(
        UserError, match=r"3 processes .* batch of 8 samples equally\. Request one of: 1, 2, 4, 8\."
    ):
        split_batch(8, 3, None)
