"""Read a table from a file of a user or a job: CSV (comma, semicolon or tab), JSON or Parquet."""

import csv
import io
import json
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vlmscale.errors import UsageError, UserError, printable
from vlmscale.records.parquet import PROVENANCE
from vlmscale.records.signature import read_signed

Source = pd.DataFrame | str | Path  # a table, or the file that holds it

_TEXT = (".csv", ".tsv", ".json")
_CURES = {
    ".xlsx": "save the sheet as CSV",
    ".xls": "save the sheet as CSV",
    ".gz": "unpack it",
    ".zip": "unpack it",
    ".txt": "name it .csv or .tsv",
    ".jsonl": "write its rows as one JSON list, in a file that ends in .json",
}
_MOST_BYTES = 1_000_000_000
_LONGEST_HEAD = 100  # characters of a column's name
_MISSING = ("", "NA", "N/A", "nan", "NaN", "null", "None")  # in a column of numbers
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# pandas and pyarrow raise subclasses of all of these for damaged files.
_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    pa.ArrowException,
)


def name_source(source: Source) -> str:
    """Return what messages call a table: its file, where it has one. Raises UsageError for neither."""
    if isinstance(source, pd.DataFrame):
        return "the table"
    if isinstance(source, str | Path):
        return printable(str(source))
    raise UsageError(
        f"needed is a table (a pandas.DataFrame) or a file's path, not an object of type "
        f"{type(source).__name__}"
    )


def read_table(source: Source) -> pd.DataFrame:
    """Return the rows of a table, at least one, with columns of different names.

    Numbers in text files become numbers where all of a column are, decimal commas included in files that
    separate columns otherwise. Raises UserError, which names the file, what is wrong and what to do.
    """
    name = name_source(source)
    if isinstance(source, pd.DataFrame):
        table = source.copy()
    else:
        try:
            table = _read_file(Path(source), name)
        except UserError:
            raise
        except RecursionError:
            raise UserError(f"{name}: its JSON is nested too deeply for a table") from None
        except _ERRORS as error:
            reason = printable((str(error).strip() or type(error).__name__).splitlines()[0])
            raise UserError(
                f"{name} cannot be read: {reason}. Make it again, or save it in another form."
            ) from None
    if any(level is not None for level in table.index.names):
        table = table.reset_index()
    table.columns = [str(column) for column in table.columns]
    _check_heads(list(table.columns), name)
    if table.empty:
        raise UserError(f"{name} has no rows")
    for column, dtype in table.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):  # grouping would give rows for absent categories
            table[column] = table[column].astype(dtype.categories.dtype)
    return table.reset_index(drop=True)


def _read_file(path: Path, name: str) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind not in (*_TEXT, ".parquet"):
        cure = _CURES.get(kind, "give it the ending that says what it is")
        raise UserError(f"{name}: its name must end in .csv, .tsv, .json or .parquet; {cure}")
    try:
        found = path.stat()
    except FileNotFoundError:
        raise UserError(f"{name}: there is no such file") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(
            f"{name} is no regular file but a folder, pipe or device; save a file first"
        )
    if found.st_size > _MOST_BYTES:
        raise UserError(
            f"{name} has over {_MOST_BYTES:,} bytes; keep only the rows and columns needed"
        )
    if not found.st_size:
        raise UserError(f"{name} is empty; make it again")
    if kind == ".parquet":
        content = io.BytesIO(read_signed(path))
        schema = pq.read_schema(content)
        if PROVENANCE in (schema.metadata or {}):
            read_signed(path, required=True)
        _check_heads(schema.names, name)
        return pd.read_parquet(content)
    text = _decode(path.read_bytes(), name)
    return _parse_json(text, name) if kind == ".json" else _parse_csv(text, name)


def _decode(content: bytes, name: str) -> str:
    encoding = next((code for mark, code in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}, line {line}: byte {content[error.start]:#04x} is no {encoding.upper()}; save the "
            "file with the encoding UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{name} is no text: it holds zero bytes; save the table as CSV in UTF-8")
    return text


def _parse_csv(text: str, name: str) -> pd.DataFrame:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    header: list[str] = []
    rows = []
    try:
        for row in reader:
            if not any(field.strip() for field in row):
                continue
            if not header:
                header = [field.strip() for field in row]
                _check_heads([field for field in header if field], name)
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{name} cannot be read as CSV: line {reader.line_num} has {len(row)} values, the head "
                    f"has {len(header)} columns separated by {delimiter!r}"
                )
            rows.append(row)
    except csv.Error as error:
        raise UserError(f"{name} cannot be read as CSV: line {reader.line_num}: {error}") from None
    decimal = _find_decimal_mark(rows, name) if delimiter != "," else "."
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return pd.DataFrame(
        {
            head: _convert([field.strip() for field in values], decimal)
            for head, values in zip(header, columns, strict=True)
            if head  # a nameless column holds row numbers
        }
    )


def _find_decimal_mark(rows: Sequence[Sequence[str]], name: str) -> str:
    """Return what separates decimals: a comma if all such numbers have one. Raises UserError for both."""
    found: dict[str, str] = {}
    for row in rows:
        for field in row:
            if number := re.fullmatch(r"\s*[+-]?\d*([.,])\d+\s*", field):
                found.setdefault(number[1], field.strip())
    if len(found) > 1:
        raise UserError(
            f"{name} has numbers with a comma ({found[',']}) and with a point ({found['.']}): which of "
            "them separates decimals? Write decimals with one mark and thousands with none"
        )
    return "," if "," in found else "."


def _convert(fields: Sequence[str], decimal: str) -> "pd.Series[Any]":
    """Return a column of a CSV file as numbers or truth values, where all that is given is."""
    texts = pd.Series(fields, dtype=str)
    if decimal == ",":
        texts = texts.str.replace(r"^([+-]?\d*),(\d+(?: ?%)?)$", r"\1.\2", regex=True)
    given = texts[~texts.isin(_MISSING)]
    if given.empty:
        return texts.where(texts != "")
    if given.str.lower().isin(("true", "false")).all() and len(given) == len(texts):
        return texts.str.lower() == "true"
    numbers = pd.to_numeric(given, errors="coerce")
    if numbers.isna().any():
        return texts.where(texts != "")
    return numbers.reindex(texts.index)


def _parse_json(text: str, name: str) -> pd.DataFrame:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_heads([key for key, _ in pairs], name)
        return dict(pairs)

    found = json.loads(text, object_pairs_hook=build)
    records = isinstance(found, list) and all(isinstance(row, dict) for row in found)
    columns = isinstance(found, dict) and all(isinstance(values, list) for values in found.values())
    if not records and not columns:
        raise UserError(
            f"{name} is no table: needed is a list of rows, each an object, or an object of columns, each "
            "a list"
        )
    return pd.DataFrame(found)


def _check_heads(columns: Sequence[str], name: str) -> None:
    for number, column in enumerate(columns, start=1):
        if len(column) > _LONGEST_HEAD:
            raise UserError(
                f"{name}: the name of column {number} has {len(column):,} characters, {column!a:.40}...: "
                "the file is damaged, or in another encoding than it says. Make it again."
            )
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(f"{name}: column {printable(twice[0])!r} stands twice; keep one")
