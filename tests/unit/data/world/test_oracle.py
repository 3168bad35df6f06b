"""The oracle answers from the subject alone, and every generated answer is its own."""

from collections import Counter

import pytest

from tests.support.worlds import FACTS, FAMILIES, PAGE, SCENE, WORLD, make_asker
from vlmscale.data.world.generate import make_benchmark_rows
from vlmscale.data.world.oracle import answer_question
from vlmscale.data.world.questions import PAGE_FAMILIES, SCENE_FAMILIES
from vlmscale.data.world.scenes import Facts, draw_page, draw_scene
from vlmscale.jobs.fingerprint import find_imported_modules
from vlmscale.settings import Counts


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("any red circle ?", "yes"),
        ("any red star ?", "no"),
        ("any green circle ?", "no"),
        ("how many ?", "2"),
        ("shape of blue ?", "star"),
        ("red left blue ?", "yes"),
        ("blue left red ?", "no"),
        ("red above blue ?", "yes"),
        ("blue above red ?", "no"),
        ("r3 of red ?", str(FACTS.values["red", "circle", "r3"])),
        ("r0 of blue plus 3 ?", str(FACTS.values["blue", "star", "r0"] + 3)),
        ("red : x star y circle z bar ?", "y"),
    ],
)
def test_the_oracle_reads_scenes(question, expected):
    assert answer_question(question, SCENE, FACTS) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("letter a1 ?", "A"),
        ("letter c2 ?", "D"),
        ("letter a3 ?", "C"),
        ("line 2 ?", "C A D"),
        ("after A ?", "B C"),
    ],
)
def test_the_oracle_reads_pages(question, expected):
    assert answer_question(question, PAGE, FACTS) == expected


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("shape of green ?", SCENE),  # no such object
        ("green left red ?", SCENE),
        ("r0 of green plus 1 ?", SCENE),
        ("r99 of red ?", SCENE),  # no such fact
        ("red : x star y bar z cross ?", SCENE),  # no right option
        ("letter a1 ?", SCENE),
        ("red right blue ?", SCENE),
        ("what is this ?", SCENE),
        ("letter d1 ?", PAGE),  # no such place
        ("after C ?", PAGE),  # two lines begin so
        ("after D ?", PAGE),  # none does
        ("how many ?", PAGE),
    ],
)
def test_the_oracle_refuses_questions_that_do_not_fit(question, subject):
    with pytest.raises((KeyError, ValueError)):
        answer_question(question, subject, FACTS)


def test_the_oracle_does_not_import_the_questions():
    modules = set(find_imported_modules(["vlmscale.data.world.oracle"]))
    assert "vlmscale.data.world.scenes" in modules
    assert "vlmscale.data.world.questions" not in modules


@pytest.mark.parametrize("stage", ["pretraining", "stage2", "test"])
def test_every_answer_is_the_oracle_s(world, stage, rng):
    ask, facts, counts = make_asker(world, stage), Facts.draw(world), Counter()
    for _ in range(600):
        for families, draw in ((SCENE_FAMILIES, draw_scene), (PAGE_FAMILIES, draw_page)):
            subject = draw(world, rng)
            for family, draw_question in families.items():
                turn = draw_question(ask, subject)
                if turn is not None:
                    assert answer_question(turn[0], subject, facts) == turn[1], (turn, subject)
                    counts[family] += 1
    # Relations need two objects; the others can be asked of nearly everything.
    one_object = world.objects == 1 or world.difficulty == 0
    assert counts["rel"] == 0 if one_object else counts["rel"] > 300
    assert all(counts[f] == 600 for f in FAMILIES if f not in {"rel", "fact", "field"})
    assert counts["field"] > 200
    assert counts["fact"] > (100 if stage == "test" else 599)


def test_a_false_answer_is_never_written(monkeypatch, rng):
    monkeypatch.setitem(SCENE_FAMILIES, "count", lambda asker, scene: ("how many ?", "9"))
    with pytest.raises(AssertionError, match="how many"):
        make_benchmark_rows(WORLD, Counts(scenes=1), rng)
