"""Random tables of scores as files, and the points that they hold."""

import contextlib
import csv
import io
import json
import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd

NEEDED = ("n_params_b", "visual_tokens", "score")
# What a cell may say, and the number that this is; None: no number that a law can use.
CELLS = {
    "n_params_b": [
        *(
            ("7B", 7.0),
            ("7b", 7.0),
            ("500M", 0.5),
            (" 0.5 ", 0.5),
            ("1.8e0", 1.8),
            ("Qwen1.5-14B", 14.0),
        ),
        *(
            ("Llama-3.2-1B", 1.0),
            ("vicuna-7b-v1.5", 7.0),
            ("8x7B", None),
            ("7B-A1B", None),
            ("B", None),
        ),
        *(
            ("-1", None),
            ("0", None),
            ("7B7", None),
            ("1_8b", None),
            ("1e9999", None),
            ("6000", None),
        ),
    ],
    "visual_tokens": [
        *(
            ("16", 16.0),
            ("16.0", 16.0),
            ("1e1", 10.0),
            ("0", None),
            ("-4", None),
            ("4 tokens", None),
        ),
        *(("576x", None), ("1e7", None), ("0.5", None), ("one", None)),
        *(("16.5", None), ("1.024", None), ("1_024", None)),
    ],
    "score": [
        *(
            ("0.5", 0.5),
            (".5", 0.5),
            ("50%", 0.5),
            ("50 %", 0.5),
            ("1", 1.0),
            ("5e-1", 0.5),
            ("0", 0.0),
        ),
        *(
            ("50", None),
            ("-0.1", None),
            ("1.01", None),
            ("0,5", None),
            ("101%", None),
            ("50%%", None),
        ),
    ],
}
NEVER = [
    "",
    "NA",
    "nan",
    "inf",
    "-inf",
    "2024-01-01",
    "true",
    "x",
    "1+2j",
    "0x10",
    "[1]",
    "1 2",
    "\x1b[1m",
]
OBJECTS = [
    None,
    True,
    np.nan,
    np.inf,
    [1],
    {"a": 1},
    date(2024, 1, 1),
    pd.Timestamp("2024"),
    2 + 1j,
]
OBJECTS += [timedelta(1), b"1", Decimal("NaN"), Decimal("sNaN"), pd.NA, pd.NaT, "x", 10**400]


@dataclass
class Case:
    """A file, and the (N, V, error) of its rows if it can be read; None: it has to be refused."""

    suffix: str
    content: bytes
    expected: list[tuple[float, float, float]] | None
    checked: bool = True  # whether expected is known
    about: list[str] = field(default_factory=list)


def make_case(rng: random.Random) -> Case:
    """Return a table of a random law in a random form, undamaged or damaged."""
    sizes = rng.sample([0.5, 1.1, 1.8, 3.0, 4.0, 7.0, 13.0, 14.0], rng.randint(2, 5))
    counts = rng.sample([1, 4, 9, 16, 36, 64, 144, 256, 576], rng.randint(2, 5))
    alpha, beta = rng.uniform(0, 0.3), rng.uniform(0, 0.2)
    rows = [
        {
            "n_params_b": n,
            "visual_tokens": v,
            "score": round(1 - 0.6 * n**-alpha * v**-beta - rng.uniform(0, 0.02), 4),
        }
        for n in sizes
        for v in counts
    ]
    if rng.random() < 0.5:
        return make_text(rows, rng)
    return make_objects(rows, rng)


def make_text(rows, rng: random.Random) -> Case:
    """Return the rows as CSV or JSON of strings, with the expected points."""
    cells = [{column: str(value) for column, value in row.items()} for row in rows]
    truth = [dict(row) for row in rows]
    refused, about = False, []
    for _ in range(rng.choice([0, 0, 1, 2])):
        at, column = rng.randrange(len(rows)), rng.choice(NEEDED)
        text, value = rng.choice([*CELLS[column], *((text, None) for text in NEVER)])
        cells[at][column], truth[at][column] = text, value
        about.append(f"{column} {text!r}")
    refused = any(value is None for row in truth for value in row.values())
    if rng.random() < 0.15:  # all in parameters
        for cell in cells:
            with contextlib.suppress(ValueError):
                cell["n_params_b"] = f"{float(cell['n_params_b']) * 1e9:.0f}"
        about.append("parameters")
    heads = {column: column for column in NEEDED}
    if rng.random() < 0.3:
        heads = {
            c: rng.choice([c.upper(), f" {c} ", c.replace("_", " "), c.title()]) for c in NEEDED
        }
    columns = rng.sample(list(NEEDED), len(NEEDED))
    extra = rng.choice([None, None, "note", "error", "score", "llm"])
    head = [heads[column] for column in columns]
    table = [[cell[column] for column in columns] for cell in cells]
    if extra is not None:
        head.append(extra)
        llms = ["m"] if rng.random() < 0.3 else [f"m-{row['n_params_b']}" for row in rows]
        for line, llm in zip(table, llms * (len(table) // len(llms)), strict=True):
            text = {"error": "0.123", "score": "0.1", "llm": llm, "note": "a; b, c"}[extra]
            line.append(text)
        refused = refused or extra in ("error", "score")
        if extra == "llm":  # of one size each
            named = zip(llms * (len(truth) // len(llms)), truth, strict=True)
            several = {(llm, row["n_params_b"]) for llm, row in named}
            refused = refused or len(several) > len(set(llms))
        about.append(f"column {extra}")
    expected = None if refused else [to_point(row) for row in truth]
    keys = [(row["n_params_b"], row["visual_tokens"]) for row in truth]
    if expected is not None and (len(set(keys)) < len(keys) or not varies(expected)):
        expected = None
    case = Case(".csv", b"", expected, about=about)
    delimiter = rng.choice([",", ",", ";", "\t", "|"])
    if rng.random() < 0.2:
        case.suffix = ".json"
        text = json.dumps([dict(zip(head, line, strict=True)) for line in table])
        if len(set(head)) < len(head):
            case.checked = False
    else:
        case.suffix = ".tsv" if delimiter == "\t" else ".csv"
        file = io.StringIO()
        csv.writer(file, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"])).writerows(
            [head, *table]
        )
        text = file.getvalue()
        # A decimal comma means something where no comma separates.
        case.checked = not (delimiter != "," and any("0,5" in line for line in table))
    case.content = text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
    if rng.random() < 0.2:
        damage_bytes(case, rng)
    return case


def make_objects(rows, rng: random.Random) -> Case:
    """Return the rows as Parquet of many types, with the expected points."""
    frame, about, refused = pd.DataFrame(rows), [], False
    for column in NEEDED:
        match rng.randrange(8):
            case 0:
                frame[column] = frame[column].map(lambda value: Decimal(str(value)))
            case 1:
                frame[column] = frame[column].astype(str)
            case 2:
                frame[column] = frame[column].convert_dtypes()
            case 3:
                frame[column] = frame[column].astype("category")
            case 4 if rng.random() < 0.5:
                value = rng.choice(OBJECTS)
                frame[column] = pd.Series([value] * len(frame), dtype=object)
                refused, about = True, [*about, f"{column} {value!r:.40}"]
            case _:
                pass
    if rng.random() < 0.2:
        frame = frame.set_index(rng.choice(NEEDED))
    if rng.random() < 0.3:
        label = rng.choice(["seed", "llm", "method", "family"])
        frame[label] = rng.choice(["a", 0, 1.5, True])
        refused = refused or label == "llm"  # one of several sizes
    file = io.BytesIO()
    try:
        frame.to_parquet(file)
    except Exception:  # what Parquet cannot hold is no input
        return make_text(rows, rng)
    expected = [to_point(row) for row in rows]
    case = Case(".parquet", file.getvalue(), None if refused else expected, about=about)
    if rng.random() < 0.2:
        damage_bytes(case, rng)
    return case


def damage_bytes(case: Case, rng: random.Random) -> None:
    """Flip, insert, delete or cut bytes; what the file means then is not known."""
    content = bytearray(case.content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(4) if at < len(content) else 1:  # at the end, insert
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at:at] = bytes([rng.randrange(256)])
            case 2:
                del content[at : at + rng.randint(1, 20)]
            case _:
                content = content[: at + 1]
    case.content, case.checked = bytes(content), False
    case.about.append("bytes")


def to_point(row) -> tuple[float, float, float]:
    return row["n_params_b"], row["visual_tokens"], 1 - row["score"]


def varies(points) -> bool:
    """Whether a law's exponents can be fitted on these points."""
    return all(len({point[i] for point in points}) > 1 for i in (0, 1))
