"""Generate the splits of a world, each from its own seed.

A hash of its pixels assigns each image to training or test, so that a training and a test split share none,
whatever their seeds and sizes.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlmscale.data.columns import QUESTION, SAMPLE, TAGGED
from vlmscale.data.shards import write_split
from vlmscale.data.world import oracle
from vlmscale.data.world.questions import (
    CAPTION_REQUESTS,
    PAGE_FAMILIES,
    SCENE_FAMILIES,
    Asker,
    Turn,
    describe_subject,
    draw_conversation,
    select_families,
)
from vlmscale.data.world.render import Picture, render
from vlmscale.data.world.scenes import Facts, Subject, draw_subject
from vlmscale.images import compute_image_key, encode_png
from vlmscale.settings import IMAGE_TOKEN, Counts, World

Row = dict[str, Any]
_TEST_SHARE = 10  # one image in ten is a test image
_TEXT_SHARES = {
    "facts": 0.4,
    "sums": 0.1,
    "scene": 0.25,
    "page": 0.25,
}  # of text-only conversations


def is_test_image(key: str) -> bool:
    return int(key[:8], 16) % _TEST_SHARE == 0


def draw_images(
    world: World, counts: Counts, rng: np.random.Generator, *, test: bool = False
) -> Iterator[tuple[Subject, Picture, Row]]:
    """Yield (subject, picture, row: id, image, image_key) for each image, scenes and pages shuffled."""
    kinds = rng.permutation(np.repeat(["scene", "page"], [counts.scenes, counts.pages]))
    for number, kind in enumerate(kinds):
        while True:
            subject = draw_subject(kind, world, rng)
            picture = render(world, subject, rng)
            key = compute_image_key(picture.image)
            if is_test_image(key) == test:
                break
        image = {"bytes": encode_png(picture.image), "path": None}
        name = f"{'test' if test else 'image'}-{number}"
        yield subject, picture, {"id": name, "image": image, "image_key": key}


def make_tower_rows(
    world: World, counts: Counts, rng: np.random.Generator, patch: int
) -> list[Row]:
    """Make one row per image, labelled with the class of every patch."""
    images = draw_images(world, counts, rng)
    return [{**row, **picture.tag_patches(patch)} for _, picture, row in images]


def make_caption_rows(world: World, counts: Counts, rng: np.random.Generator) -> list[Row]:
    """Make one row per image: a request for a caption, and the caption."""
    return [
        _add_turns(row, [(str(rng.choice(CAPTION_REQUESTS)), describe_subject(subject))])
        for subject, _, row in draw_images(world, counts, rng)
    ]


def make_instruction_rows(
    world: World, counts: Counts, rng: np.random.Generator, stage: str
) -> list[Row]:
    """Make one row of several questions per image, add the text-only rows, and shuffle.

    stage: determines which facts the questions may be about (see Asker).
    """
    asker = Asker(world, Facts.draw(world), stage, rng)
    rows = [
        _add_turns(row, draw_conversation(asker, subject))
        for subject, _, row in draw_images(world, counts, rng)
    ]
    rows += [_make_text_row(asker, number) for number in range(counts.text)]
    return [rows[i] for i in rng.permutation(len(rows))]


def make_benchmark_rows(
    world: World, counts: Counts, rng: np.random.Generator
) -> dict[str, list[Row]]:
    """Return question family -> rows: one question of each family per test image.

    Skips families without a question in this world. Raises AssertionError if an answer differs from the
    oracle's.
    """
    facts = Facts.draw(world)
    asker = Asker(world, facts, "test", rng)
    rows: dict[str, list[Row]] = {family: [] for family in (*SCENE_FAMILIES, *PAGE_FAMILIES)}
    for subject, _, row in draw_images(world, counts, rng, test=True):
        for family, ask in select_families(world, subject).items():
            if turn := ask(asker, subject):
                question, answer = turn
                assert oracle.answer_question(question, subject, facts) == answer, (turn, subject)
                rows[family].append({**row, "question": question, "answer": answer})
    return {family: questions for family, questions in rows.items() if questions}


def generate_split(
    world: World, split: str, counts: Counts, folder: Path, *, sample: int, patch: int
) -> None:
    """Write one split (a field of vlmscale.study.schema.Data) as Parquet shards.

    sample: which draw from this world, part of the seed. patch: the tower's patch size in pixels.
    """
    rng = np.random.default_rng([world.seed, sample, *split.encode()])
    shards, features = {}, SAMPLE
    match split:
        case "tower":
            shards["shard-00000"], features = make_tower_rows(world, counts, rng, patch), TAGGED
        case "stage1":
            shards["shard-00000"] = make_caption_rows(world, counts, rng)
        case "test":
            shards, features = make_benchmark_rows(world, counts, rng), QUESTION
        case _:
            stage = "pretraining" if split == "corpus" else "stage2"
            shards["shard-00000"] = make_instruction_rows(world, counts, rng, stage)
    about = {"split": split, "seed": world.seed, "sample": sample}
    write_split(folder, shards, features, {**about, "licence": "generated, Apache-2.0"})


def _make_text_row(asker: Asker, number: int) -> Row:
    """Make a text-only conversation about facts, sums or a caption."""
    opening = ""
    match asker.rng.choice(list(_TEXT_SHARES), p=list(_TEXT_SHARES.values())):
        case "facts":
            turns = [asker.ask_fact_in_text() for _ in range(10)]
        case "sums":
            turns = [asker.ask_sum() for _ in range(10)]
        case kind:
            subject = draw_subject(kind, asker.world, asker.rng)
            opening = describe_subject(subject) + "\n"
            turns = draw_conversation(asker, subject)
    row = {"id": f"text-{number}", "image": None, "image_key": None}
    return _add_turns(row, dict(turns).items(), opening)


def _add_turns(row: Row, turns: Iterable[Turn], opening: str = f"{IMAGE_TOKEN}\n") -> Row:
    """Return `row` with the turns in LLaVA's format; `opening` precedes the first question."""
    conversation = []
    for question, answer in turns:
        conversation.append({"from": "human", "value": opening + question})
        conversation.append({"from": "gpt", "value": answer})
        opening = ""
    return {**row, "conversations": conversation}
