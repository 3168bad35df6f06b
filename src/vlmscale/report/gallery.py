"""Write gallery.html: test images with question, truth and what each trained model answered."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from vlmscale.data.shards import list_shards
from vlmscale.evaluation.spec import Benchmark
from vlmscale.records.files import atomic_path
from vlmscale.records.parquet import read_parquet
from vlmscale.report.pages import fill_page

_DESCRIBED = ["llm", "n_params_b", "method", "visual_tokens", "seed", "budget"]  # of a cell
LONGEST = 300  # characters of an answer on the page
# What a browser shows, by the first bytes of the file.
_KINDS = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}


@dataclass(frozen=True)
class GalleryCell:
    """A trained model on the page, with its answers."""

    llm: str
    n_params_b: float
    method: str
    visual_tokens: int
    seed: int
    budget: str
    answers: pd.DataFrame  # benchmark, id, question, target, answer, score; one row a question


def write_gallery(
    page: Path,
    study: str,
    errors: pd.DataFrame,
    samples: Mapping[str, Path],
    benchmarks: Sequence[Benchmark],
    data: Path,
    *,
    most: int,
) -> None:
    """Write the page of a study.

    errors: the study's table, which describes its cells. samples: the samples.parquet of each cell. data:
    the folder with the benchmarks' questions. most: as in render_gallery.

    Images of generated questions stand within the page. Those of downloaded benchmarks may not be passed
    on: they are written as files to the folder `{page}_images`, which the page refers to.
    """
    rows = errors.drop_duplicates("cell")
    if "asked_tokens" in rows:  # of released VLMs, whose V differs between benchmarks
        rows = rows.assign(visual_tokens=rows["asked_tokens"])
    described: dict[Any, dict[str, Any]] = {
        row["cell"]: {name: row[name] for name in _DESCRIBED} for _, row in rows.iterrows()
    }
    cells = [
        GalleryCell(answers=read_parquet(path), **described[cell]) for cell, path in samples.items()
    ]
    images: dict[tuple[str, str], str] = {}
    folder = page.with_name(f"{page.stem}_images")
    for benchmark in benchmarks:
        for name, image in _read_images(benchmark, data, cells[0].answers, most).items():
            if benchmark.dataset is None:
                images[benchmark.benchmark, name] = embed_image(image)
            else:
                file = folder / f"{hashlib.sha256(image).hexdigest()[:16]}.{_find_kind(image)}"
                with atomic_path(file) as scratch:
                    scratch.write_bytes(image)
                images[benchmark.benchmark, name] = f"{folder.name}/{file.name}"
    released = [benchmark.benchmark for benchmark in benchmarks if benchmark.dataset]
    note = "Green answers score at least half of a question's points."
    if released:
        note += (
            f" Keep this page to yourself: it has questions of {', '.join(released)}, whose terms do "
            "not let you pass them on."
        )
    families = {benchmark.benchmark: benchmark.family for benchmark in benchmarks}
    title = f"{study}: what each model answered"
    text = render_gallery(title, note, cells, families, images, most=most)
    with atomic_path(page) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _read_images(
    benchmark: Benchmark, data: Path, answers: pd.DataFrame, most: int
) -> dict[str, bytes]:
    """Return the image files of the questions shown; none where they lie apart from the questions.

    Raises Damaged for a file that is not as its manifest says.
    """
    asked = answers.loc[answers["benchmark"] == benchmark.benchmark, "id"].tolist()
    wanted = set(choose_shown(asked, most))
    images, row = {}, 0
    folder = benchmark.folder(data)
    list_shards(folder, checksum=benchmark.dataset is None)  # refuses what is damaged
    for file in sorted(folder.glob(benchmark.files)):
        parquet = pq.ParquetFile(file)
        if "image" not in parquet.schema_arrow.names:
            return {}
        columns = ["image", *([benchmark.id] if benchmark.id else [])]
        for batch in parquet.iter_batches(batch_size=64, columns=columns):
            for record in batch.to_pylist():
                name = str(record[benchmark.id] if benchmark.id else row)
                if name in wanted and record["image"] and record["image"]["bytes"]:
                    images[name] = record["image"]["bytes"]
                row += 1
    return images


def choose_shown(ids: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the ids, evenly spaced."""
    return list(ids[:: -(-len(ids) // most)]) if ids else []


def render_gallery(
    title: str,
    note: str,
    cells: Sequence[GalleryCell],
    families: Mapping[str, str],
    images: Mapping[tuple[str, str], str],
    *,
    most: int,
) -> str:
    """Return the page. Equal arguments give equal bytes.

    families: of each benchmark. images: (benchmark, id) -> address of the image, a path relative to
    the page or a data: address. most: questions of a benchmark; of more, every so-many-th one is shown
    and the page says so. Answers over 300 characters are cut, with an ellipsis.
    """
    answers = pd.concat([cell.answers.assign(cell=i) for i, cell in enumerate(cells)])
    addresses = list(dict.fromkeys(images.values()))
    number = {address: i for i, address in enumerate(addresses)}
    data = {
        "title": title,
        "note": note,
        "cells": [
            {"llm": cell.llm, "n": cell.n_params_b, "v": cell.visual_tokens} for cell in cells
        ],
        "groups": _group(cells),
        "benchmarks": [
            _describe(
                benchmark,
                family,
                answers[answers["benchmark"] == benchmark],
                len(cells),
                {key: number[address] for key, address in images.items()},
                most,
            )
            for benchmark, family in families.items()
        ],
        "images": addresses,
    }
    return fill_page("gallery", title, data, ("gallery.js",))


def embed_image(image: bytes) -> str:
    """Return an image file's bytes as a data: address. Raises ValueError for what no browser shows."""
    return f"data:image/{_find_kind(image)};base64,{base64.b64encode(image).decode('ascii')}"


def _find_kind(image: bytes) -> str:
    for start, kind in _KINDS.items():
        if image.startswith(start):
            return kind
    raise ValueError(f"an image that begins with {image[:4]!r} is none that a browser shows")


def _group(cells: Sequence[GalleryCell]) -> list[dict[str, Any]]:
    """Return the groups of cells that stand in one table: a method at one training budget."""
    budgets = {cell.budget for cell in cells}
    groups: dict[str, list[int]] = {}
    for i, cell in enumerate(cells):
        name = cell.method if len(budgets) == 1 else f"{cell.method}, {cell.budget}"
        groups.setdefault(name, []).append(i)
    # The group with most cells is shown first.
    return [
        {"name": name, "cells": members}
        for name, members in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _describe(
    benchmark: str,
    family: str,
    answers: pd.DataFrame,
    cells: int,
    images: Mapping[tuple[str, str], int],
    most: int,
) -> dict[str, Any]:
    ids = answers["id"].drop_duplicates().tolist()
    shown = choose_shown(ids, most)
    said = answers[answers["id"].isin(shown)]
    texts = said["answer"].fillna("").astype(str)
    cut = texts.where(texts.str.len() <= LONGEST, texts.str.slice(0, LONGEST - 1) + "…")
    codes, words = pd.factorize(cut)
    by_id = dict(iter(said.assign(code=codes).groupby("id", sort=False)))
    questions = []
    for name in shown:
        rows = by_id[name]
        codes_at: list[int | None] = [None] * cells
        scores: list[int | None] = [None] * cells
        for cell, code, score in zip(rows["cell"], rows["code"], rows["score"], strict=True):
            codes_at[cell], scores[cell] = int(code), round(100 * float(score))
        questions.append(
            {
                "id": name,
                "question": rows["question"].iloc[0],
                "target": str(rows["target"].iloc[0]),
                "image": images.get((benchmark, name)),
                "answers": codes_at,
                "scores": scores,
            }
        )
    return {
        "name": benchmark,
        "family": family,
        "asked": len(ids),
        "answers": [str(word) for word in words],
        "questions": questions,
    }
