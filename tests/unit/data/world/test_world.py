"""The generated world: reproducible, true, balanced, and with test images nobody trained on."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vlmscale.data.images import compute_image_key, decode_image
from vlmscale.data.shards import list_shards
from vlmscale.data.world import generate as module
from vlmscale.data.world.generate import (
    generate_split,
    is_test_image,
    make_benchmark_rows,
    make_caption_rows,
    make_instruction_rows,
)
from vlmscale.data.world.oracle import answer_question
from vlmscale.data.world.questions import (
    PAGE_FAMILIES,
    SCENE_FAMILIES,
    Asker,
    describe_subject,
    draw_conversation,
    list_vocabulary,
)
from vlmscale.data.world.render import render_page, render_scene
from vlmscale.data.world.scenes import Facts, Object, Page, Scene, draw_page, draw_scene
from vlmscale.jobs.fingerprint import find_imported_modules
from vlmscale.settings import Counts, World

ROOT = Path(__file__).parents[4]
WORLD = World()
FACTS = Facts.draw(WORLD)
FULL = {"objects": 4, "lines": 4, "columns": 4}
WORLDS = {
    "default": WORLD,
    "smallest": World(
        **{"colours": 2, "shapes": 2, "objects": 1, "relations": 2, "values": 2},
        **{"held_out_facts": 0.6, "alphabet": 3, "lines": 1, "columns": 2},
    ),
    "largest": World(seed=4, **FULL, relations=20, values=64, alphabet=26),
    "easy": World(seed=2, **FULL, difficulty=0),
    "hard": World(seed=3, **FULL, difficulty=1),
}
FAMILIES = {**SCENE_FAMILIES, **PAGE_FAMILIES}


@pytest.fixture(params=WORLDS)
def world(request):
    return WORLDS[request.param]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rows(folder):
    return [row for file in list_shards(folder) for row in pq.read_table(file).to_pylist()]


def asker(world, stage="pretraining", seed=0):
    return Asker(world, Facts.draw(world), stage, np.random.default_rng(seed))


def test_same_seed_same_bytes_in_another_process(splits, study, tmp_path):
    code = (
        "import sys; from pathlib import Path; from vlmscale.study.load import load_study;"
        "from vlmscale.data.world.generate import generate_split; from vlmscale.settings import Counts;"
        "s = load_study(Path('config/smoke.yaml'));"
        "generate_split(s.world, 'stage2', Counts(scenes=24, pages=16, text=8), Path(sys.argv[1]), "
        "sample=0, patch=s.tower.patch_size)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, timeout=60)
    for file in splits["stage2"].iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_training_and_test_images_are_disjoint(splits):
    keys = {
        split: {row["image_key"] for row in rows(splits[split])} - {None}
        for split in ("stage1", "stage2", "test")
    }
    assert all(is_test_image(key) for key in keys["test"])
    assert not keys["test"] & (keys["stage1"] | keys["stage2"])
    tower = {
        compute_image_key(decode_image(r["image"]["bytes"], "x")) for r in rows(splits["tower"])
    }
    assert not any(is_test_image(key) for key in tower)


def test_image_key_is_that_of_the_stored_image(splits):
    for row in rows(splits["test"]):
        assert compute_image_key(decode_image(row["image"]["bytes"], "x")) == row["image_key"]


def test_manifest_counts_every_row(splits):
    manifest = json.loads((splits["test"] / "manifest.json").read_text())
    assert manifest["rows"] == len(rows(splits["test"]))
    assert set(manifest["shards"]) == {f"{family}.parquet" for family in FAMILIES}
    asked = {name.removesuffix(".parquet"): s["rows"] for name, s in manifest["shards"].items()}
    always = {"exist", "attr", "count", "calc", "choice", "char", "row"}
    assert {family: asked[family] for family in always} == dict.fromkeys(always, 6)
    assert max(asked.values()) == 6


def test_every_family_is_a_benchmark_of_the_right_suite():
    with (ROOT / "src/vlmscale/resources/benchmarks.csv").open() as file:
        suites = {
            row["benchmark"]: row["family"]
            for row in csv.DictReader(file)
            if row["task"] == "world"
        }
    assert suites == {
        **dict.fromkeys(SCENE_FAMILIES, "reasoning"),
        **dict.fromkeys(PAGE_FAMILIES, "ocr"),
    }


SCENE = Scene((Object("red", "circle", 0), Object("blue", "star", 7)))
PAGE = Page(("ABC", "CAD", "CBA"))


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
def test_the_oracle_refuses_what_cannot_be_asked(question, subject):
    with pytest.raises((KeyError, ValueError)):
        answer_question(question, subject, FACTS)


def test_the_oracle_knows_nothing_of_how_questions_are_drawn():
    found = set(find_imported_modules(["vlmscale.data.world.oracle"]))
    assert "vlmscale.data.world.scenes" in found
    assert "vlmscale.data.world.questions" not in found


@pytest.mark.parametrize("stage", ["pretraining", "stage2", "test"])
def test_every_answer_is_the_oracles(world, stage, rng):
    ask, facts, asked = asker(world, stage), Facts.draw(world), Counter()
    for _ in range(600):
        for families, draw in ((SCENE_FAMILIES, draw_scene), (PAGE_FAMILIES, draw_page)):
            subject = draw(world, rng)
            for family, draw_question in families.items():
                turn = draw_question(ask, subject)
                if turn is not None:
                    assert answer_question(turn[0], subject, facts) == turn[1], (turn, subject)
                    asked[family] += 1
    # Relations need two objects; the others can be asked of nearly everything.
    one_object = world.objects == 1 or world.difficulty == 0
    assert asked["rel"] == 0 if one_object else asked["rel"] > 300
    assert all(asked[f] == 600 for f in FAMILIES if f not in {"rel", "fact", "field"})
    assert asked["field"] > 200
    assert asked["fact"] > (100 if stage == "test" else 599)


def test_a_false_answer_is_never_written(monkeypatch, rng):
    monkeypatch.setitem(SCENE_FAMILIES, "count", lambda asker, scene: ("how many ?", "9"))
    with pytest.raises(AssertionError, match="how many"):
        make_benchmark_rows(WORLD, Counts(scenes=1), rng)


def test_text_is_true(world):
    ask, facts = asker(world), Facts.draw(world)
    for _ in range(300):
        question, said = ask.ask_fact_in_text()
        relation, _, colour, shape, _ = question.split()
        assert said == str(facts.values[colour, shape, relation])
        question, said = ask.ask_sum()
        value, _, added, _ = question.split()
        assert int(said) == int(value) + int(added)
    assert describe_subject(SCENE) == "red circle top left , blue star bottom centre ."
    assert describe_subject(Page(("AB", "CD"))) == "a1 A b1 B a2 C b2 D ."


@pytest.mark.parametrize("difficulty", [0, 0.5, 1])
def test_exist_is_balanced_and_its_no_as_hard_as_the_dial_says(difficulty, rng):
    world = World(difficulty=difficulty)
    ask, said, hard = asker(world), Counter(), []
    for _ in range(3000):
        scene = draw_scene(world, rng)
        question, reply = ask.ask_exist(scene)
        said[reply] += 1
        if reply == "no":
            hard.append(question.split()[1] in {thing.colour for thing in scene.objects})
    assert said["yes"] / 3000 == pytest.approx(0.5, abs=0.03)
    assert np.mean(hard) == pytest.approx(difficulty, abs=0.04)


def test_rel_is_balanced(rng):
    ask, said = asker(WORLD), Counter()
    for _ in range(4000):
        turn = ask.ask_rel(draw_scene(WORLD, rng))
        if turn is not None:
            said[turn[0].split()[1], turn[1]] += 1
    assert len(said) == 4
    for relation in ("left", "above"):
        yes, no = said[relation, "yes"], said[relation, "no"]
        assert yes / (yes + no) == pytest.approx(0.5, abs=0.04)


def test_the_right_option_is_anywhere(rng):
    ask = asker(WORLD)
    said = Counter(ask.ask_choice(draw_scene(WORLD, rng))[1] for _ in range(3000))
    assert {option: n / 3000 for option, n in said.items()} == pytest.approx(
        dict.fromkeys("xyz", 1 / 3), abs=0.04
    )


def sizes(difficulty, rng, number=3000):
    world = World(**FULL, difficulty=difficulty)
    objects = Counter(len(draw_scene(world, rng).objects) for _ in range(number))
    pages = [draw_page(world, rng) for _ in range(number)]
    return (
        objects,
        Counter(len(page.lines) for page in pages),
        Counter(len(page.lines[0]) for page in pages),
    )


def test_the_dial_goes_from_fewest_to_most(rng):
    assert [set(found) for found in sizes(0, rng, 100)] == [{1}, {1}, {2}]
    assert [set(found) for found in sizes(1, rng, 100)] == [{4}, {4}, {4}]
    means = []
    for difficulty in (0.2, 0.5, 0.8):
        found = sizes(difficulty, rng)
        means.append([sum(n * times for n, times in size.items()) / 3000 for size in found])
        if difficulty == 0.5:
            for size, numbers in zip(found, ([1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4]), strict=True):
                shares = {n: size[n] / 3000 for n in numbers}
                assert shares == pytest.approx(dict.fromkeys(numbers, 1 / len(numbers)), abs=0.04)
    assert (np.diff(means, axis=0) > 0.3).all()


def test_pages_have_varied_density_and_the_rest_is_empty(rng):
    world = World(**FULL)
    shapes = {(len(p.lines), len(p.lines[0])) for p in (draw_page(world, rng) for _ in range(500))}
    assert shapes == {(lines, columns) for lines in (1, 2, 3, 4) for columns in (2, 3, 4)}
    picture = render_page(world, Page(("AB",)), rng)
    tags = np.array(picture.tag_patches(12)["letter"]).reshape(4, 4)
    assert tags[0].tolist() == [1, 2, 0, 0]
    assert not tags[1:].any()
    pixels = np.asarray(picture.image)
    assert len(np.unique(pixels[12:].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(pixels[:12].reshape(-1, 3), axis=0)) > 1


@pytest.fixture
def told(monkeypatch, tmp_path):
    """told(world, split, counts, sample) -> a Counter of the facts that a split asks for."""
    subjects = []

    def recorded(asker, subject):
        turns = draw_conversation(asker, subject)
        subjects.append((subject, turns))
        return turns

    monkeypatch.setattr(module, "draw_conversation", recorded)

    def look(world, split, counts, sample=0):
        subjects.clear()
        generate_split(world, split, counts, tmp_path / f"{split}{sample}", sample=sample, patch=8)
        asked, facts = Counter(), Facts.draw(world)
        for subject, turns in subjects:
            shapes = (
                {} if isinstance(subject, Page) else {o.colour: o.shape for o in subject.objects}
            )
            for question, _ in turns:
                if found := re.fullmatch(r"(r\d+) of (\w+)( plus \d)? \?", question):
                    asked[found[2], shapes[found[2]], found[1]] += 1
        for row in rows(tmp_path / f"{split}{sample}"):
            turns = row["conversations"]
            for human, reply in zip(turns[::2], turns[1::2], strict=True):
                if found := re.fullmatch(r"(r\d+) of (\w+) (?!plus)(\w+) \?", human["value"]):
                    key = found[2], found[3], found[1]
                    assert reply["value"] == str(facts.values[key])
                    asked[key] += 1
        return asked

    return look


def held_out(world):
    return {key for key in Facts.draw(world).values if Facts.draw(world).is_held_out(*key)}


def test_pretraining_tells_every_fact_and_stage_2_none_that_is_held_out(told):
    kept = set(FACTS.values) - held_out(WORLD)
    assert set(told(WORLD, "corpus", Counts(text=2000))) == set(FACTS.values)
    for counts in (Counts(scenes=800), Counts(text=2000)):
        asked = set(told(WORLD, "stage2", counts))
        assert asked <= kept
        assert len(asked) > 0.9 * len(kept)


def test_the_test_asks_for_held_out_facts_only(monkeypatch, rng):
    drawn = []

    def recorded(*args, **kwargs):
        for subject, picture, key in pictures(*args, **kwargs):
            drawn.append(subject)
            yield subject, picture, key

    pictures = module.draw_images
    monkeypatch.setattr(module, "draw_images", recorded)
    questions = make_benchmark_rows(WORLD, Counts(scenes=300), rng)["fact"]
    asked = set()
    for row in questions:
        relation, _, colour, _ = row["question"].split()
        (thing,) = (o for o in drawn[int(row["id"][5:])].objects if o.colour == colour)
        asked.add((colour, thing.shape, relation))
    assert asked <= held_out(WORLD)
    assert len(asked) > 0.7 * len(held_out(WORLD))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.99])
def test_held_out_is_the_share_asked_for_but_never_of_the_relation_sums_use(share):
    world = World(held_out_facts=share)
    found = held_out(world)
    assert not [key for key in found if key[2] == "r0"]
    assert len(found) / (8 * 8 * 7) == pytest.approx(share, abs=0.05)
    assert {question.split()[0] for question in calculations(world)} == {"r0"}


def calculations(world):
    ask, rng = asker(world, "test"), np.random.default_rng(0)
    return [ask.ask_calc(draw_scene(world, rng))[0] for _ in range(50)]


def test_early_relations_are_told_most():
    ask = asker(WORLD)
    said = Counter(ask.ask_fact_in_text()[0].split()[0] for _ in range(8000))
    assert {r: n / 8000 for r, n in said.items()} == pytest.approx(FACTS.frequency, abs=0.02)
    shares = list(FACTS.frequency.values())
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 2.5 * shares[-1]
    assert sum(shares) == pytest.approx(1)


def test_another_sample_has_other_images_and_the_same_facts(told, tmp_path):
    counts = Counts(scenes=60, pages=60, text=200)
    asked = [told(WORLD, "stage2", counts, sample) for sample in (0, 1)]  # checks every answer
    assert asked[0] != asked[1]
    keys = [
        {row["image_key"] for row in rows(tmp_path / f"stage2{sample}")} - {None}
        for sample in (0, 1)
    ]
    assert not keys[0] & keys[1]
    assert min(map(len, keys)) == 120
    other = Facts.draw(WORLD.model_copy(update={"seed": 9}))
    assert other.values != FACTS.values


def test_the_vocabulary_is_every_word_of_every_split(world, rng):
    known = list_vocabulary(world)
    assert len(known) == len(set(known))
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
    assert words <= set(known)
    # Nothing is listed that belongs to another world; some words need two objects or three shapes.
    strange = {word for word in set(known) - words if not re.fullmatch(r"\d+|[a-d][1-4]", word)}
    assert strange <= {"left", "above", ",", "z"}


def test_a_conversation_asks_of_every_family_and_nothing_twice(rng):
    ask = asker(WORLD)

    def families(subject, known):
        turns = draw_conversation(ask, subject)
        assert len({question for question, _ in turns}) == len(turns)
        kinds = {_kind(question) for question, _ in turns}
        assert kinds <= set(known)
        return kinds

    assert families(SCENE, SCENE_FAMILIES) == set(SCENE_FAMILIES)
    assert families(Page(("AB", "CD")), PAGE_FAMILIES) == set(PAGE_FAMILIES)
    assert families(Page(("AB", "AD")), PAGE_FAMILIES) == {"char", "row"}
    orders = {tuple(draw_conversation(ask, SCENE)) for _ in range(20)}
    assert len({_kind(turns[0][0]) for turns in orders}) > 3


def _kind(question):
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


def test_tag_patches_lie_where_the_thing_is(rng):
    scene = Scene((Object("red", "circle", 0), Object("blue", "star", 8)))
    tags = render_scene(WORLD, scene, rng).tag_patches(8)
    colour = np.array(tags["colour"]).reshape(6, 6)
    assert set(colour[:3, :3].ravel()) == {0, 1}  # red, top left
    assert set(colour[3:, 3:].ravel()) == {0, 3}  # blue, bottom right
    assert set(tags["letter"]) == {0}
    picture = render_page(WORLD, Page(("AB", "CD")), rng)
    letters = np.array(picture.tag_patches(8)["letter"]).reshape(6, 6)
    assert set(letters[:3, :3].ravel()) == {1}  # A
    assert set(letters[3:, 3:].ravel()) == {4}  # D


def test_a_split_of_text_only(tmp_path):
    generate_split(WORLD, "corpus", Counts(text=5), tmp_path / "corpus", sample=0, patch=8)
    assert all(
        row["image"] is None and row["image_key"] is None for row in rows(tmp_path / "corpus")
    )
