"""Records are read one by one, and conversations cleaned for training."""

import json
import random

import pytest

from tests.support.upstream import record
from vlmscale.data.llava import records
from vlmscale.data.llava.records import (
    UnusableSample,
    clean_conversation,
    get_image_path,
    get_name,
    read_records,
)
from vlmscale.errors import UserError


@pytest.mark.parametrize("chunk", [1, 7, 100, 2**24])
def test_records_are_read_one_by_one(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(records, "CHUNK", chunk)
    written = [record("1", "a.jpg", "é \u2028 ]", "}{"), record("2", None, "x" * 500, '"')]
    for indent in (None, 2):
        (tmp_path / "r.json").write_text(json.dumps(written, indent=indent, ensure_ascii=False))
        assert list(read_records(tmp_path / "r.json")) == written


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"id": 1}', "ends early, in record 2"),
        ('[{"id": 1}, {"id"', "ends early or is damaged, in record 2"),
        ('[{"id": 1},', "ends early"),
        ('{"id": 1}', "is no JSON list"),
        ('{"id": 1}\n{"id": 2}', "is no JSON list"),
        ("", "is no JSON list"),
        ("<html>", "is no JSON list"),
        ("[1, 2]", "holds more than objects, as record 1"),
        ('[{"id": 1}, null]', "holds more than objects, as record 2"),
        ('[{"id": 1} {"id": 2}]', "is damaged before record 2"),
        ('[{"id": 1},, {"id": 2}]', "holds more than objects, as record 2"),
        ('[{"id": 1},]', "holds more than objects, as record 2"),
        ('[{"id": 1}] [{"id": 2}]', "has something behind its list"),
        ('[{"id": 1}][]', "has something behind its list"),
        ('[{"id": 1}]}', "has something behind its list"),
        ('[{"id": 1, "id": 2}]', "a key occurs twice"),
        ('[{"id": ' + "1" * 5000 + "}]", "is damaged, in record 1"),
        ('[{"id": ' + "[" * 100_000, "is damaged, in record 1"),
        ('[{"id": "\n"}]', "is damaged, in record 1"),
    ],
)
def test_a_file_that_ends_early_or_is_no_list_of_objects_is_refused(tmp_path, content, words):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UserError, match=rf"r\.json .*{words}.*Delete"):
        list(read_records(tmp_path / "r.json"))


def test_a_list_in_another_encoding_is_refused_or_read_right(tmp_path):
    content = json.dumps([record("1", "a.jpg", "é", "ü")], ensure_ascii=False)
    for encoding in ("latin-1", "utf-16", "utf-16-le", "utf-32", "cp037"):
        (tmp_path / "r.json").write_bytes(content.encode(encoding))
        with pytest.raises(UserError, match=r"r\.json is (not in UTF-8|no JSON list).*Delete"):
            list(read_records(tmp_path / "r.json"))
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "r.json").write_bytes(content.encode(encoding))
        assert list(read_records(tmp_path / "r.json")) == json.loads(content)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_list_is_read_or_refused_and_its_conversations_used_or_skipped(tmp_path, seed):
    rng = random.Random(seed)
    content = json.dumps([record(f"{i}", "a.jpg", "<image> q", "a", "é ü", '"') for i in range(3)])
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(content, "utf-8")
        for _ in range(rng.randint(1, 4)):
            at, kind = rng.randrange(len(damaged)), rng.randrange(4)
            if kind == 0:
                damaged[at] = rng.randrange(256)
            elif kind == 1:
                damaged[at : at + rng.randint(1, 9)] = b""
            else:
                words = [
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b",",
                    b":",
                    b'"',
                    b"null",
                    b"1e999",
                    b"\\ud800",
                    b"\xff",
                ]
                damaged[at:at] = rng.choice(words)
        (tmp_path / "r.json").write_bytes(damaged)
        try:
            for position, read in enumerate(read_records(tmp_path / "r.json")):
                try:
                    said = "".join(turn["value"] for turn in clean_conversation(read)[0])
                    f"{get_image_path(read)} {get_name(read, position)} {said}".encode()
                except UnusableSample:
                    outcomes.add("skipped")
            outcomes.add("read")
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "skipped", "refused"}


def test_records_without_an_id_are_named_by_their_position():
    assert [get_name(each, 7) for each in ({"id": "x"}, {"id": 3}, {"id": None}, {})] == [
        "x", "3", "7", "7",
    ]  # fmt: skip


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


@pytest.mark.parametrize(("number", "text"), [(2, "2"), (0.5, "0.5"), (-1, "-1"), (0, "0")])
def test_answers_that_are_numbers_become_text(number, text):
    turns, repairs = clean_conversation(record("1", None, "how many ?", number))
    assert values(turns) == ["how many ?", text]
    assert repairs == {"a number made text": 1}


@pytest.mark.parametrize(
    "turns",
    [
        [],
        None,
        [{"from": "human", "value": "q"}],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": None}],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": True}],
        [{"from": "human", "value": "q"}, {"from": "gpt", "value": ["a"]}],
        [{"from": "human", "value": "q"}, {"from": "gpt"}],
        [{"from": ["human"], "value": "q"}, {"from": "gpt", "value": "a"}],
        ["q", "a"],
        {"human": "q", "gpt": "a"},
        [{"from": "system", "value": "q"}, {"from": "gpt", "value": "a"}],
        [{"from": who, "value": "q"} for who in ("human", "human", "gpt", "gpt")],
    ],
)
def test_a_conversation_without_an_answered_question_is_refused(turns):
    with pytest.raises(UnusableSample):
        clean_conversation({"id": "1", "conversations": turns})
