"""Rows of each real benchmark with the columns and types of its publisher's Parquet files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value
from PIL import Image as Pixels

from vlmscale.data.shards import write_manifest
from vlmscale.evaluation.arrow_copies import arrow_folder, write_arrow
from vlmscale.evaluation.spec import Benchmark
from vlmscale.images import encode_png

TEXT, INT = Value("string"), Value("int64")
TEXTS = List(TEXT)


def texts(*names: str) -> dict[str, Any]:
    """Columns of text."""
    return dict.fromkeys(names, TEXT)


SCHEMAS = {
    "mme": {**texts("question_id", "question", "answer", "category"), "image": Image()},
    "gqa": {
        **texts("id", "imageId", "question", "answer", "fullAnswer", "semanticStr"),
        "isBalanced": Value("bool"),
        "groups": texts("global", "local"),
        "types": texts("structural", "semantic", "detailed"),
    },
    "gqa_images": {"id": TEXT, "image": Image()},
    "ai2d": {**texts("question", "answer"), "options": TEXTS, "image": Image()},
    "mmbench": {
        "index": INT,
        **texts("question", "hint", "answer", "A", "B", "C", "D", "category"),
        "image": Image(),
        **texts("source", "L2-category", "comment", "split"),
    },
    "mmmu": {
        **texts("id", "question", "options", "explanation"),
        **{f"image_{i}": Image() for i in range(1, 8)},
        **texts("img_type", "answer", "topic_difficulty", "question_type", "subfield"),
    },
    "scienceqa": {
        "image": Image(),
        "question": TEXT,
        "choices": TEXTS,
        "answer": Value("int8"),
        **texts("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture"),
        "solution": TEXT,
    },
    "mathvista": {
        **texts("pid", "question", "image"),
        "decoded_image": Image(),
        "choices": TEXTS,
        "unit": TEXT,
        "precision": Value("float64"),
        **texts("answer", "question_type", "answer_type"),
        "metadata": {
            **texts("category", "context", "grade", "language", "source", "split", "task"),
            **dict.fromkeys(("img_height", "img_width"), INT),
            "skills": TEXTS,
        },
        "query": TEXT,
    },
    "pope": {
        **texts("id", "question_id", "question", "answer", "image_source"),
        "image": Image(),
        "category": TEXT,
    },
    "chartqa": {**texts("type", "question", "answer"), "image": Image()},
    "docvqa": {
        **texts("questionId", "question"),
        "question_types": TEXTS,
        "image": Image(),
        "docId": INT,
        **texts("ucsf_document_id", "ucsf_document_page_no"),
        "answers": TEXTS,
        "data_split": TEXT,
    },
    "textvqa": {
        "image_id": TEXT,
        "question_id": Value("int32"),
        "question": TEXT,
        "question_tokens": TEXTS,
        "image": Image(),
        **dict.fromkeys(("image_width", "image_height"), Value("int32")),
        **texts("flickr_original_url", "flickr_300k_url"),
        "answers": TEXTS,
        "image_classes": TEXTS,
        "set_name": TEXT,
        "ocr_tokens": TEXTS,
    },
    "vizwiz": {**texts("question_id", "question", "category"), "image": Image(), "answers": TEXTS},
    "vqav2": {
        **texts("question_type", "multiple_choice_answer"),
        "answers": List({**texts("answer", "answer_confidence"), "answer_id": INT}),
        "image_id": INT,
        "answer_type": TEXT,
        "question_id": INT,
        "question": TEXT,
        "image": Image(),
    },
}


def picture(shade: int, side: int = 24) -> dict[str, Any]:
    """An image cell of a Parquet file."""
    image = Pixels.new("RGB", (side, side), (shade % 256, 90, 120))
    return {"bytes": encode_png(image), "path": f"{shade}.png"}


def write(benchmark: Benchmark, rows: Sequence[dict[str, Any]], data: Path) -> list[Path]:
    """Write `rows` below `data` like a download, in two files if possible; missing cells are null."""
    name = benchmark.benchmark.partition("_")[0]  # mme_perception is another metric of mme
    folder = benchmark.folder(data)
    half = (len(rows) + 1) // 2
    halves = [part for part in (rows[:half], rows[half:]) if part]
    parts = {
        f"{benchmark.split}-0000{i}-of-0000{len(halves)}.parquet": part
        for i, part in enumerate(halves)
    }
    _write(folder, SCHEMAS[name], parts)
    if benchmark.images:
        images = [{"id": key} for key in dict.fromkeys(row["imageId"] for row in rows)]
        file = f"{benchmark.split}-00000-of-00001.parquet"
        _write(folder.parent / benchmark.images, SCHEMAS["gqa_images"], {file: images})
    files = [folder / part for part in parts]
    write_arrow(files, benchmark.split, arrow_folder(folder, benchmark.split))
    return files


def _write(folder: Path, schema: dict[str, Any], parts: dict[str, Sequence[dict[str, Any]]]):
    folder.mkdir(parents=True)
    features = Features(schema)
    shown = next(
        (n for n in ("image", "decoded_image", "image_1") if isinstance(schema.get(n), Image)), None
    )
    for name, rows in parts.items():
        cells = [{shown: picture(i), **row} if shown else row for i, row in enumerate(rows)]
        table = pa.Table.from_pylist(cells, schema=features.arrow_schema)
        pq.write_table(table, folder / name)
    write_manifest(folder, list(parts), {})


def ten(*answers: str) -> list[str]:
    """Ten people's answers: the given ones, filled up with others."""
    return [*answers, *(f"other {i}" for i in range(10 - len(answers)))]


def people(*answers: str) -> list[dict[str, Any]]:
    """Ten people's answers in VQAv2's form."""
    return [
        {"answer": a, "answer_confidence": "yes", "answer_id": i}
        for i, a in enumerate(ten(*answers), 1)
    ]


def mme(category: str, *pairs: tuple[str, str, float]) -> list[tuple]:
    """Pairs of questions about one image each: (answer to the true one, to the false one, score)."""
    rows = []
    for i, (yes, no, _) in enumerate(pairs):
        for truth, said in (("Yes", yes), ("No", no)):
            row = {
                "question_id": f"{category}/{i}.png",
                "question": f"Is it {truth}? Please answer yes or no.",
                "answer": truth,
                "category": category,
            }
            rows.append((row, said, _))
    return rows


def rotations(
    index: int, answers: str, options: Sequence[str], **more: str
) -> list[dict[str, Any]]:
    """A question of MMBench in one rotation per letter of `answers`, which is the right one there."""
    rows = []
    for turn, letter in enumerate(answers):
        shift = (ord(letter) - ord(answers[0])) % len(options)
        turned = [*options[-shift:], *options[:-shift]] if shift else list(options)
        given = dict(zip("ABCD", [*turned, "nan", "nan"][:4], strict=True))
        rows.append(
            {
                "index": index + turn * 1_000_000,
                "question": f"question {index}?",
                "hint": "nan",
                "answer": letter,
                **given,
                **dict.fromkeys(("category", "L2-category", "source", "comment"), "x"),
                "split": "dev",
                **more,
            }
        )
    return rows
