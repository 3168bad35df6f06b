"""The generated world: reproducible, true, balanced, and with test images nobody trained on."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from vlmscale.data.images import decode, image_key
from vlmscale.data.shards import shard_files
from vlmscale.data.world.generate import generate, is_test
from vlmscale.data.world.questions import PAGE_FAMILIES, SCENE_FAMILIES, caption, conversation
from vlmscale.data.world.render import render_page, render_scene
from vlmscale.data.world.scenes import Facts, Object, Page, Scene, draw_page, draw_scene
from vlmscale.settings import Counts, World

WORLD = World()
FACTS = Facts.of(WORLD)


def rows(folder):
    return [row for file in shard_files(folder) for row in pq.read_table(file).to_pylist()]


def test_same_seed_same_bytes_in_another_process(splits, study, tmp_path):
    code = (
        "import sys; from pathlib import Path; from vlmscale.config import *;"
        "from vlmscale.data.world.generate import generate;"
        "s = load_study(Path('config/smoke.yaml'));"
        "generate(s.world, 'stage2', Counts(scenes=24, pages=16, text=8), Path(sys.argv[1]), "
        "patch=s.tower.patch_size)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, timeout=60)
    for file in splits["stage2"].iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_training_and_test_images_are_disjoint(splits):
    keys = {
        split: {row["image_key"] for row in rows(splits[split])} - {None}
        for split in ("stage1", "stage2", "test")
    }
    assert all(is_test(key) for key in keys["test"])
    assert not keys["test"] & (keys["stage1"] | keys["stage2"])
    tower = {image_key(decode(r["image"]["bytes"], "x")) for r in rows(splits["tower"])}
    assert not any(is_test(key) for key in tower)


def test_image_key_is_that_of_the_stored_image(splits):
    for row in rows(splits["test"]):
        assert image_key(decode(row["image"]["bytes"], "x")) == row["image_key"]


def test_manifest_counts_every_row(splits):
    manifest = json.loads((splits["test"] / "manifest.json").read_text())
    assert manifest["rows"] == 6 * len(SCENE_FAMILIES) + 6 * len(PAGE_FAMILIES)
    assert set(manifest["shards"]) == {f"{f}.parquet" for f in (*SCENE_FAMILIES, *PAGE_FAMILIES)}


SCENE = Scene((Object("red", "circle", 0), Object("blue", "star", 8)))
PAGE = Page(("AB", "CD"))


def test_answers_are_true():
    rng = np.random.default_rng(0)
    for _ in range(200):
        question, answer = SCENE_FAMILIES["exist"](WORLD, FACTS, SCENE, rng)
        words = question.split()
        there = (words[3], words[4]) in {("red", "circle"), ("blue", "star")}
        assert answer == ("yes" if there else "no")
        question, answer = SCENE_FAMILIES["attr"](WORLD, FACTS, SCENE, rng)
        assert answer == {"red": "circle", "blue": "star"}[question.split()[4]]
        question, answer = SCENE_FAMILIES["fact"](WORLD, FACTS, SCENE, rng)
        colour, relation = question.split()[6], question.split()[3]
        shape = {"red": "circle", "blue": "star"}[colour]
        assert answer == FACTS.values[colour, shape, relation]
        question, answer = PAGE_FAMILIES["char"](WORLD, FACTS, PAGE, rng)
        assert answer == "ABCD"[int(question.split()[4]) - 1]
        question, answer = PAGE_FAMILIES["row"](WORLD, FACTS, PAGE, rng)
        assert answer == {"1": "A B", "2": "C D"}[question.split()[2]]
    assert SCENE_FAMILIES["count"](WORLD, FACTS, SCENE, rng)[1] == "2"
    assert caption(SCENE) == "a red circle top left , a blue star bottom right ."
    assert caption(PAGE) == "line 1 A B , line 2 C D ."


def test_exist_is_balanced():
    rng = np.random.default_rng(0)
    scenes = [draw_scene(WORLD, rng) for _ in range(2000)]
    answers = [SCENE_FAMILIES["exist"](WORLD, FACTS, scene, rng)[1] for scene in scenes]
    assert answers.count("yes") / len(answers) == pytest.approx(0.5, abs=0.04)


def test_conversations_never_give_a_letter_away_before_it_is_asked():
    rng = np.random.default_rng(0)
    for _ in range(50):
        turns = conversation(WORLD, FACTS, draw_page(WORLD, rng), rng)
        kinds = [question.split()[0] for question, _ in turns]
        assert kinds == sorted(kinds, key=lambda word: word == "read")
        assert len({question for question, _ in turns}) == len(turns)


def test_patch_tags_lie_where_the_thing_is():
    rng = np.random.default_rng(0)
    tags = render_scene(WORLD, SCENE, rng).patch_tags(8)
    colour = np.array(tags["colour"]).reshape(6, 6)
    assert set(colour[:3, :3].ravel()) == {0, 1}  # red, top left
    assert set(colour[3:, 3:].ravel()) == {0, 3}  # blue, bottom right
    assert set(tags["letter"]) == {0}
    letters = np.array(render_page(WORLD, PAGE, rng).patch_tags(8)["letter"]).reshape(6, 6)
    assert set(letters[:3, :3].ravel()) == {1}  # A
    assert set(letters[3:, 3:].ravel()) == {4}  # D


def test_a_split_of_text_only(tmp_path):
    generate(WORLD, "corpus", Counts(text=5), tmp_path / "corpus", patch=8)
    assert all(
        row["image"] is None and row["image_key"] is None for row in rows(tmp_path / "corpus")
    )
