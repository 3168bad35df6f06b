"""Questions are true, balanced, and in the words of the vocabulary."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

from tests.support.paths import RESOURCES
from tests.support.worlds import FACTS, SCENE, WORLD, WORLDS, make_asker
from vlmscale.data.world.generate import (
    make_benchmark_rows,
    make_caption_rows,
    make_instruction_rows,
)
from vlmscale.data.world.questions import (
    PAGE_FAMILIES,
    SCENE_FAMILIES,
    describe_subject,
    draw_conversation,
    list_vocabulary,
)
from vlmscale.data.world.scenes import Facts, Page, draw_page, draw_scene
from vlmscale.settings import Counts, World


def test_every_family_is_a_benchmark_of_the_right_suite():
    with (RESOURCES / "benchmarks.csv").open() as file:
        suites = {
            row["benchmark"]: row["family"]
            for row in csv.DictReader(file)
            if row["task"] == "world"
        }
    assert suites == {
        **dict.fromkeys(SCENE_FAMILIES, "reasoning"),
        **dict.fromkeys(PAGE_FAMILIES, "ocr"),
    }


def test_the_config_names_the_families_that_there_are():
    assert set(World().families) == {*SCENE_FAMILIES, *PAGE_FAMILIES}


def test_a_family_left_out_is_never_asked(rng):
    world = WORLDS["graded"]
    ask = make_asker(world)
    for draw in (draw_scene, draw_page):
        turns = [turn for _ in range(200) for turn in draw_conversation(ask, draw(world, rng))]
        assert "rel" not in {find_family(question) for question, _ in turns}


@pytest.mark.parametrize(
    ("families", "kind"), [(["fact", "char"], "scene"), (["attr", "field"], "page")]
)
def test_a_world_where_an_image_may_have_no_question_is_refused(families, kind):
    with pytest.raises(ValueError, match=f"no question may be left for a {kind}"):
        World.model_validate({"families": families})


def test_text_is_true(world):
    ask, facts = make_asker(world), Facts.draw(world)
    for _ in range(300):
        question, answer = ask.ask_fact_in_text()
        relation, _, colour, shape, _ = question.split()
        value = str(facts.values[colour, shape, relation])
        assert answer == (f"{shape} {value}" if world.fact_answers == "shape_and_value" else value)
        question, answer = ask.ask_sum()
        value, _, added, _ = question.split()
        assert int(answer) == int(value) + int(added)
    assert describe_subject(SCENE) == "red circle top left , blue star bottom centre ."
    assert describe_subject(Page(("AB", "CD"))) == "a1 A b1 B a2 C b2 D ."


@pytest.mark.parametrize("difficulty", [0, 0.5, 1])
def test_exist_is_balanced_and_hard_as_often_as_the_difficulty_says(difficulty, rng):
    world = World(difficulty=difficulty)
    ask, answers, hard = make_asker(world), Counter(), []
    for _ in range(3000):
        scene = draw_scene(world, rng)
        question, reply = ask.ask_exist(scene)
        answers[reply] += 1
        if reply == "no":
            hard.append(question.split()[1] in {item.colour for item in scene.objects})
    assert answers["yes"] / 3000 == pytest.approx(0.5, abs=0.03)
    assert np.mean(hard) == pytest.approx(difficulty, abs=0.04)


def test_rel_is_balanced(rng):
    ask, answers = make_asker(WORLD), Counter()
    for _ in range(4000):
        turn = ask.ask_rel(draw_scene(WORLD, rng))
        if turn is not None:
            answers[turn[0].split()[1], turn[1]] += 1
    assert len(answers) == 4
    for relation in ("left", "above"):
        yes, no = answers[relation, "yes"], answers[relation, "no"]
        assert yes / (yes + no) == pytest.approx(0.5, abs=0.04)


def test_the_right_option_is_in_any_place(rng):
    ask = make_asker(WORLD)
    answers = Counter(ask.ask_choice(draw_scene(WORLD, rng))[1] for _ in range(3000))
    assert {option: n / 3000 for option, n in answers.items()} == pytest.approx(
        dict.fromkeys("xyz", 1 / 3), abs=0.04
    )


def test_early_relations_occur_most():
    ask = make_asker(WORLD)
    answers = Counter(ask.ask_fact_in_text()[0].split()[0] for _ in range(8000))
    assert {r: n / 8000 for r, n in answers.items()} == pytest.approx(FACTS.frequency, abs=0.02)
    shares = list(FACTS.frequency.values())
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 2.5 * shares[-1]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.slow
def test_the_vocabulary_is_every_word_of_every_split(world, rng):
    vocabulary = list_vocabulary(world)
    assert len(vocabulary) == len(set(vocabulary))
    counts = Counts(scenes=150, pages=150)
    texts = [
        turn["value"]
        for row in [
            *make_caption_rows(world, counts, rng),
            *make_instruction_rows(world, counts, rng, "stage2"),
            *make_instruction_rows(world, Counts(text=300), rng, "pretraining"),
        ]
        for turn in row["conversations"]
    ]
    for questions in make_benchmark_rows(world, counts, rng).values():
        texts += [text for row in questions for text in (row["question"], row["answer"])]
    words = {word for text in texts for word in text.replace("<image>", "").split()}
    assert words <= set(vocabulary)
    # Nothing is listed that belongs to another world; some words need two objects or three shapes.
    strange = {
        word for word in set(vocabulary) - words if not re.fullmatch(r"\d+|[a-d][1-4]", word)
    }
    assert strange <= {"left", "above", ",", "z"}


def test_a_conversation_asks_of_every_family_and_nothing_twice(rng):
    ask = make_asker(WORLD)

    def families(subject, vocabulary):
        turns = draw_conversation(ask, subject)
        assert len({question for question, _ in turns}) == len(turns)
        kinds = {find_family(question) for question, _ in turns}
        assert kinds <= set(vocabulary)
        return kinds

    assert families(SCENE, SCENE_FAMILIES) == set(SCENE_FAMILIES)
    assert families(Page(("AB", "CD")), PAGE_FAMILIES) == set(PAGE_FAMILIES)
    assert families(Page(("AB", "AD")), PAGE_FAMILIES) == {"char", "row"}
    orders = {tuple(draw_conversation(ask, SCENE)) for _ in range(20)}
    assert len({find_family(turns[0][0]) for turns in orders}) > 3


def find_family(question):
    """The family that a question belongs to, by its words."""
    kinds = {
        "exist": r"any \w+ \w+",
        "attr": r"shape of \w+",
        "rel": r"\w+ (left|above) \w+",
        "count": r"how many",
        "fact": r"r\d+ of \w+",
        "calc": r"r0 of \w+ plus \d",
        "choice": r"\w+ : .*",
        "char": r"letter \w+",
        "row": r"line \d",
        "field": r"after \w",
    }
    (kind,) = (kind for kind, words in kinds.items() if re.fullmatch(words + r" \?", question))
    return kind
