"""Splits are reproducible, disjoint, and tell the facts that they should."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.splits import read_split
from tests.support.worlds import FACTS, FAMILIES, WORLD, list_held_out
from vlmscale.data.world import generate as module
from vlmscale.data.world.generate import generate_split, is_test_image, make_benchmark_rows
from vlmscale.data.world.questions import draw_conversation
from vlmscale.data.world.scenes import Facts, Page
from vlmscale.images import compute_image_key, decode_image
from vlmscale.settings import Counts


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
        split: {row["image_key"] for row in read_split(splits[split])} - {None}
        for split in ("stage1", "stage2", "test")
    }
    assert all(is_test_image(key) for key in keys["test"])
    assert not keys["test"] & (keys["stage1"] | keys["stage2"])
    tower = {
        compute_image_key(decode_image(r["image"]["bytes"], "x"))
        for r in read_split(splits["tower"])
    }
    assert not any(is_test_image(key) for key in tower)


def test_image_key_is_that_of_the_stored_image(splits):
    for row in read_split(splits["test"]):
        assert compute_image_key(decode_image(row["image"]["bytes"], "x")) == row["image_key"]


def test_manifest_counts_every_row(splits):
    manifest = json.loads((splits["test"] / "manifest.json").read_text())
    assert manifest["rows"] == len(read_split(splits["test"]))
    assert set(manifest["shards"]) == {f"{family}.parquet" for family in FAMILIES}
    facts_asked = {
        name.removesuffix(".parquet"): s["rows"] for name, s in manifest["shards"].items()
    }
    always = {"exist", "attr", "count", "calc", "choice", "char", "row"}
    assert {family: facts_asked[family] for family in always} == dict.fromkeys(always, 6)
    assert max(facts_asked.values()) == 6


@pytest.fixture
def count_facts(monkeypatch, tmp_path):
    """count_facts(world, split, counts, sample) -> a Counter of the facts that a split asks for."""
    subjects = []

    def recorded(asker, subject):
        turns = draw_conversation(asker, subject)
        subjects.append((subject, turns))
        return turns

    monkeypatch.setattr(module, "draw_conversation", recorded)

    def look(world, split, counts, sample=0):
        subjects.clear()
        generate_split(world, split, counts, tmp_path / f"{split}{sample}", sample=sample, patch=8)
        facts_asked, facts = Counter(), Facts.draw(world)
        for subject, turns in subjects:
            shapes = (
                {} if isinstance(subject, Page) else {o.colour: o.shape for o in subject.objects}
            )
            for question, _ in turns:
                if match := re.fullmatch(r"(r\d+) of (\w+)( plus \d)? \?", question):
                    facts_asked[match[2], shapes[match[2]], match[1]] += 1
        for row in read_split(tmp_path / f"{split}{sample}"):
            turns = row["conversations"]
            for human, reply in zip(turns[::2], turns[1::2], strict=True):
                if match := re.fullmatch(r"(r\d+) of (\w+) (?!plus)(\w+) \?", human["value"]):
                    key = match[2], match[3], match[1]
                    assert reply["value"] == str(facts.values[key])
                    facts_asked[key] += 1
        return facts_asked

    return look


@pytest.mark.slow
def test_pretraining_tells_every_fact_and_stage_2_no_held_out_one(count_facts):
    kept = set(FACTS.values) - list_held_out(WORLD)
    assert set(count_facts(WORLD, "corpus", Counts(text=2000))) == set(FACTS.values)
    for counts in (Counts(scenes=800), Counts(text=2000)):
        facts_asked = set(count_facts(WORLD, "stage2", counts))
        assert facts_asked <= kept
        assert len(facts_asked) > 0.9 * len(kept)


@pytest.mark.slow
def test_the_test_asks_for_held_out_facts_only(monkeypatch, rng):
    drawn = []

    def recorded(*args, **kwargs):
        for subject, picture, row in draw_images(*args, **kwargs):
            drawn.append(subject)
            yield subject, picture, row

    draw_images = module.draw_images
    monkeypatch.setattr(module, "draw_images", recorded)
    questions = make_benchmark_rows(WORLD, Counts(scenes=300), rng)["fact"]
    facts_asked = set()
    for row in questions:
        relation, _, colour, _ = row["question"].split()
        (item,) = (o for o in drawn[int(row["id"][5:])].objects if o.colour == colour)
        facts_asked.add((colour, item.shape, relation))
    assert facts_asked <= list_held_out(WORLD)
    assert len(facts_asked) > 0.7 * len(list_held_out(WORLD))


def test_another_sample_has_other_images_and_the_same_facts(count_facts, tmp_path):
    counts = Counts(scenes=60, pages=60, text=200)
    facts_asked = [  # counting also checks every answer
        count_facts(WORLD, "stage2", counts, sample) for sample in (0, 1)
    ]
    assert facts_asked[0] != facts_asked[1]
    keys = [
        {row["image_key"] for row in read_split(tmp_path / f"stage2{sample}")} - {None}
        for sample in (0, 1)
    ]
    assert not keys[0] & keys[1]
    assert min(map(len, keys)) == 120
    other = Facts.draw(WORLD.model_copy(update={"seed": 9}))
    assert other.values != FACTS.values


def test_a_split_can_be_text_only(tmp_path):
    generate_split(WORLD, "corpus", Counts(text=5), tmp_path / "corpus", sample=0, patch=8)
    assert all(
        row["image"] is None and row["image_key"] is None for row in read_split(tmp_path / "corpus")
    )
