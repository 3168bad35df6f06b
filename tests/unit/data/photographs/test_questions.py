"""Questions about photographs: balanced, true, and about things that training has not shown."""

from collections import Counter

import numpy as np
import pytest

from vlmscale.data.photographs.archive import KINDS, Photograph
from vlmscale.data.photographs.questions import BENCHMARKS, draw_turns, is_held_out


def make(number, kind):
    word = f"{kind.split()[-1]}{number}"
    return Photograph(word, f"A fine {word}.", kind, b"", word)


# As uneven as may be: half of them are mammals.
SIZES = {"mammal": 12, "bird": 5, "insect": 4, "piece of clothing": 3}
PHOTOGRAPHS = [make(i, kind) for kind, size in SIZES.items() for i in range(size)]


def collect_answers(turns, benchmark):
    """Text of a question -> how often yes and no are the answer."""
    answers = {}
    for mine in turns:
        for question, answer in mine[benchmark]:
            answers.setdefault(question, Counter())[answer] += 1
    return answers


@pytest.mark.parametrize("seed", range(5))
def test_no_answer_can_be_guessed_from_the_question(seed):
    turns = draw_turns(PHOTOGRAPHS, np.random.default_rng(seed))
    for benchmark in ("photo_noun", "photo_kind"):
        for question, answers in collect_answers(turns, benchmark).items():
            assert answers["Yes"] == answers["No"] > 0, question


def test_answers_are_true():
    for shown, turns in zip(
        PHOTOGRAPHS, draw_turns(PHOTOGRAPHS, np.random.default_rng(0)), strict=True
    ):
        assert set(turns) == set(BENCHMARKS)
        article = "an" if shown.kind == "insect" else "a"
        (yes, no), (kind_yes, kind_no) = turns["photo_noun"], turns["photo_kind"]
        assert yes == (f"Is there {shown.phrase} in the image?", "Yes")
        assert kind_yes == (f"Is there {article} {shown.kind} in the image?", "Yes")
        assert no[1] == kind_no[1] == "No"
        assert shown.kind not in no[0] + kind_no[0]
        assert turns["photo_which"][0][1].lower() == shown.kind


def test_what_is_absent_differs_between_draws():
    rng = np.random.default_rng(0)
    draws = [draw_turns(PHOTOGRAPHS, rng) for _ in range(8)]
    absent = [{turns[i]["photo_noun"][1] for turns in draws} for i in range(len(PHOTOGRAPHS))]
    assert np.mean([len(questions) for questions in absent]) > 4


def test_a_majority_of_one_kind_is_refused():
    with pytest.raises(ValueError, match="13 of 25 photographs show one kind"):
        draw_turns([*PHOTOGRAPHS, make(12, "mammal")], np.random.default_rng(0))


def test_photographs_of_one_thing_are_held_out_together():
    named = {
        phrase: Photograph(phrase, f"{phrase}.", "bird", b"", phrase)
        for phrase in ("A heron", "A great blue heron", "A grey Heron")
    }
    assert len({is_held_out(photograph) for photograph in named.values()}) == 1
    many = [is_held_out(make(i, kind)) for kind in set(KINDS.values()) for i in range(100)]
    assert 0.1 < np.mean(many) < 0.3
