"""Records are read one by one, and conversations cleaned for training."""

import json

import pytest

from tests.support.upstream import record
from vlmscale.data.llava import records
from vlmscale.data.llava.records import UnusableSample, clean_conversation, read_records
from vlmscale.errors import UserError


@pytest.mark.parametrize("chunk", [1, 7, 100, 2**24])
def test_records_are_read_one_by_one(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(records, "CHUNK", chunk)
    written = [record("1", "a.jpg", "é \u2028 ]", "}{"), record("2", None, "x" * 500, '"')]
    for indent in (None, 2):
        (tmp_path / "r.json").write_text(json.dumps(written, indent=indent, ensure_ascii=False))
        assert list(read_records(tmp_path / "r.json")) == written


@pytest.mark.parametrize("content", ['[{"id": 1}', '[{"id": 1}, {"id"', '{"id": 1}', "[1, 2]", ""])
def test_a_file_that_ends_early_or_is_no_list_of_objects_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UserError, match=r"r\.json .*Delete"):
        list(read_records(tmp_path / "r.json"))


def values(turns):
    return [turn["value"] for turn in turns]


def test_the_mark_moves_to_the_front_of_the_first_turn():
    turns, repairs = clean_conversation(record("1", "a.jpg", "what ?\n<image>", "a", "and ?", "b"))
    assert values(turns) == ["<image>\nwhat ?", "a", "and ?", "b"]
    assert not repairs


def test_repairs_are_made_and_counted():
    turns, repairs = clean_conversation(record("1", None, "an <image> tag", "a \ud83d b", "and ?"))
    assert values(turns) == ["an <image > tag", "a \ufffd b"]
    assert sum(repairs.values()) == 3
    turns, repairs = clean_conversation(record("1", "a.jpg", "<image> or <image>", "b"))
    assert values(turns) == ["<image>\nor", "b"]
    assert sum(repairs.values()) == 1
    answer_first = record("1", None, "x", "hello", "q", "a")
    answer_first["conversations"] = answer_first["conversations"][1:]
    assert values(clean_conversation(answer_first)[0]) == ["q", "a"]


@pytest.mark.parametrize(
    "turns",
    [
        [],
        None,
        [{"from": "human", "value": "q"}],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": None}],
        [{"from": "system", "value": "q"}, {"from": "gpt", "value": "a"}],
        [{"from": who, "value": "q"} for who in ("human", "human", "gpt", "gpt")],
    ],
)
def test_a_conversation_without_an_answered_question_is_refused(turns):
    with pytest.raises(UnusableSample):
        clean_conversation({"id": "1", "conversations": turns})
