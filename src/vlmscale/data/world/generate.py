"""The splits of a generated world, each from its own seed.

Whether an image may be used for testing is decided by a hash of its pixels, so no image can be in
both a training and the test split, whatever their seeds and sizes.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlmscale.data.images import compute_image_key, encode_png
from vlmscale.data.shards import QUESTION, SAMPLE, TAGGED, write_split
from vlmscale.data.world import oracle
from vlmscale.data.world.questions import (
    CAPTION_REQUESTS,
    PAGE_FAMILIES,
    SCENE_FAMILIES,
    Asker,
    Turn,
    describe_subject,
    draw_conversation,
)
from vlmscale.data.world.render import Picture, render_page, render_scene
from vlmscale.data.world.scenes import Facts, Page, Scene, draw_page, draw_scene
from vlmscale.settings import IMAGE_TOKEN, Counts, World

Row = dict[str, Any]
# One image in ten is for testing.
_TEST_SHARE = 10


def is_test_image(key: str) -> bool:
    return int(key[:8], 16) % _TEST_SHARE == 0


def draw_images(
    world: World, counts: Counts, rng: np.random.Generator, *, test: bool = False
) -> Iterator[tuple[Scene | Page, Picture, str]]:
    """(subject, picture, image key) for every image of a split, scenes and pages mixed."""
    for kind in rng.permutation(np.repeat(["scene", "page"], [counts.scenes, counts.pages])):
        while True:
            subject: Scene | Page
            if kind == "scene":
                subject = draw_scene(world, rng)
                picture = render_scene(world, subject, rng)
            else:
                subject = draw_page(world, rng)
                picture = render_page(world, subject, rng)
            key = compute_image_key(picture.image)
            if is_test_image(key) == test:
                break
        yield subject, picture, key


def make_tower_rows(
    world: World, counts: Counts, rng: np.random.Generator, patch: int
) -> list[Row]:
    return [
        {"id": f"image-{i}", "image": _image(picture), **picture.patch_tags(patch)}
        for i, (_, picture, _) in enumerate(draw_images(world, counts, rng))
    ]


def make_caption_rows(world: World, counts: Counts, rng: np.random.Generator) -> list[Row]:
    """One instruction and one caption for each image."""
    return [
        _with_image(
            i, picture, key, [(str(rng.choice(CAPTION_REQUESTS)), describe_subject(subject))]
        )
        for i, (subject, picture, key) in enumerate(draw_images(world, counts, rng))
    ]


def make_instruction_rows(
    world: World, counts: Counts, rng: np.random.Generator, stage: str
) -> list[Row]:
    """Several questions on each image, and text-only conversations between them.

    stage: which facts they may ask for (see Asker).
    """
    asker = Asker(world, Facts.draw(world), stage, rng)
    rows = [
        _with_image(i, picture, key, draw_conversation(asker, subject))
        for i, (subject, picture, key) in enumerate(draw_images(world, counts, rng))
    ]
    rows += [_text_only(asker, i) for i in range(counts.text)]
    return [rows[i] for i in rng.permutation(len(rows))]


def make_benchmark_rows(
    world: World, counts: Counts, rng: np.random.Generator
) -> dict[str, list[Row]]:
    """Benchmark -> questions: every test image is asked one question of each of its families.

    A family that has nothing to ask in this world is left out. Raises AssertionError if an answer is not
    the one that the oracle reads off the subject.
    """
    facts = Facts.draw(world)
    asker = Asker(world, facts, "test", rng)
    rows: dict[str, list[Row]] = {family: [] for family in (*SCENE_FAMILIES, *PAGE_FAMILIES)}
    for i, (subject, picture, key) in enumerate(draw_images(world, counts, rng, test=True)):
        families: dict[str, Callable[..., Turn | None]] = dict(
            SCENE_FAMILIES if isinstance(subject, Scene) else PAGE_FAMILIES
        )
        for family, ask in families.items():
            turn = ask(asker, subject)
            if turn is None:
                continue
            assert oracle.answer_question(turn[0], subject, facts) == turn[1], (turn, subject)
            rows[family].append(
                {
                    "id": f"test-{i}",
                    "image": _image(picture),
                    "image_key": key,
                    "question": turn[0],
                    "answer": turn[1],
                }
            )
    return {family: asked for family, asked in rows.items() if asked}


def generate_split(
    world: World, split: str, counts: Counts, folder: Path, *, sample: int, patch: int
) -> None:
    """Write one split (a field of vlmscale.study.schema.Data) as Parquet shards.

    `sample` is another draw from the same world. `patch` is the tower's patch size in pixels, for the
    tower's tags.
    """
    rng = np.random.default_rng([world.seed, sample, *split.encode()])
    shards: dict[str, list[Row]]
    match split:
        case "tower":
            shards, features = {"shard-00000": make_tower_rows(world, counts, rng, patch)}, TAGGED
        case "stage1":
            shards, features = {"shard-00000": make_caption_rows(world, counts, rng)}, SAMPLE
        case "test":
            shards, features = make_benchmark_rows(world, counts, rng), QUESTION
        case _:
            stage = "pretraining" if split == "corpus" else "stage2"
            shards = {"shard-00000": make_instruction_rows(world, counts, rng, stage)}
            features = SAMPLE
    about = {
        "split": split,
        "seed": world.seed,
        "sample": sample,
        "licence": "generated, Apache-2.0",
    }
    write_split(folder, shards, features, about)


def _turns(pairs: Iterable[Turn], opening: str) -> list[dict[str, str]]:
    """The LLaVA form of a conversation; `opening` stands before the first question."""
    turns = []
    for i, (question, answer) in enumerate(pairs):
        turns.append({"from": "human", "value": (opening if i == 0 else "") + question})
        turns.append({"from": "gpt", "value": answer})
    return turns


# Kinds of text-only conversations, and their shares.
_TEXT_KINDS = {"facts": 0.4, "sums": 0.1, "scene": 0.25, "page": 0.25}


def _text_only(asker: Asker, number: int) -> Row:
    """A conversation without an image: facts, sums, or questions about a caption."""
    opening = ""
    match asker.rng.choice(list(_TEXT_KINDS), p=list(_TEXT_KINDS.values())):
        case "facts":
            pairs = [asker.known_fact() for _ in range(10)]
        case "sums":
            pairs = [asker.addition() for _ in range(10)]
        case kind:
            draw = draw_scene if kind == "scene" else draw_page
            subject = draw(asker.world, asker.rng)
            opening = describe_subject(subject) + "\n"
            pairs = draw_conversation(asker, subject)
    return {
        "id": f"text-{number}",
        "image": None,
        "image_key": None,
        "conversations": _turns(dict(pairs).items(), opening),
    }


def _with_image(number: int, picture: Picture, key: str, pairs: Iterable[Turn]) -> Row:
    return {
        "id": f"image-{number}",
        "image": _image(picture),
        "image_key": key,
        "conversations": _turns(pairs, f"{IMAGE_TOKEN}\n"),
    }


def _image(picture: Picture) -> dict[str, bytes | None]:
    return {"bytes": encode_png(picture.image), "path": None}
