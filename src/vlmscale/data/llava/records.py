"""The released conversations: read record by record from a JSON list, and cleaned for training."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from vlmscale.errors import UserError
from vlmscale.settings import IMAGE_TOKEN

CHUNK = 2**24  # characters
_MAX_RECORD = 2**26  # characters
_REMEDY = "Delete it and run again to download it anew."
_SPACE = re.compile(r"[ \t\r\n]*")

Turn = dict[str, str]


class UnusableSample(Exception):
    """A sample that training cannot use; the message says why."""


class _BadList(Exception):
    """A file is no list of records; the message says why."""


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list, never holding all of it. Raises UserError for anything else."""
    try:
        with file.open(encoding="utf-8-sig") as handle:
            yield from _decode_list(handle)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not in UTF-8 ({error.reason}). Convert it, or: {_REMEDY}"
        ) from None
    except _BadList as reason:
        raise UserError(f"{file} {reason}. {_REMEDY}") from None


def _decode_list(handle: TextIO) -> Iterator[dict[str, Any]]:
    # Not ijson: its fast parser turns half a surrogate pair, of which the released text has some, into a
    # question mark that no repair could count; the parser that keeps it is twelve times slower than this.
    decoder = json.JSONDecoder(object_pairs_hook=_make_object)
    text, at = "", 0

    def peek() -> str:
        """Go on to the next character that is no space, and return it; "" at the end."""
        nonlocal text, at
        while (at := _SPACE.match(text, at).end()) == len(text):  # type: ignore[union-attr]
            text, at = handle.read(CHUNK), 0
            if not text:
                return ""
        return text[at]

    if peek() != "[":
        raise _BadList("is no JSON list")
    for number in count(1):
        at += 1  # after the bracket or a comma
        if (symbol := peek()) == "]" and number == 1:
            break
        if symbol != "{":
            problem = "holds more than objects, as" if symbol else "ends early, in"
            raise _BadList(f"{problem} record {number:,}")
        while True:
            try:
                record, at = decoder.raw_decode(text, at)
                break
            except json.JSONDecodeError:
                more = handle.read(CHUNK) if len(text) - at < _MAX_RECORD else ""
                if not more:
                    raise _BadList(f"ends early or is damaged, in record {number:,}") from None
                text, at = text[at:] + more, 0
            except (ValueError, RecursionError) as error:
                raise _BadList(f"is damaged, in record {number:,} ({error})") from None
        yield record
        if (symbol := peek()) == "]":
            break
        if symbol != ",":
            problem = "is damaged before" if symbol else "ends early, in"
            raise _BadList(f"{problem} record {number + 1:,}")
    at += 1
    if peek():
        raise _BadList("has something behind its list")


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def get_name(record: Mapping[str, Any], position: int) -> str:
    """Return the id of a record as text; its position in the list if it has none."""
    name = record.get("id")
    return _replace_surrogates(str(position if name is None else name))


def get_image_path(record: Mapping[str, Any]) -> str | None:
    """Return the path of the image that a record shows; None if it is text only."""
    path = record.get("image")
    return _replace_surrogates(str(path)) if path else None


def clean_conversation(record: Mapping[str, Any]) -> tuple[list[Turn], Counter[str]]:
    """Return the turns as training reads them, and how often each kind of repair was made.

    The image's mark moves to the front of the first human turn, as in LLaVA's own training. Text that
    only looks like the mark is broken up. A last question without answer and a first answer without
    question are dropped. Raises UnusableSample where no question with an answer is left.
    """
    with_image, repairs = get_image_path(record) is not None, Counter[str]()
    conversation = record.get("conversations")
    turns = [
        {"from": _get_speaker(turn), "value": _read_text(turn["value"], repairs)}
        for turn in (conversation if isinstance(conversation, list) else [])
    ]
    marks = sum(turn["value"].count(IMAGE_TOKEN) for turn in turns)
    if marks != with_image:
        repairs["text that reads like the image's mark, or no mark"] += 1
    for turn in turns:
        if IMAGE_TOKEN in turn["value"]:
            turn["value"] = _remove_mark(turn["value"], with_image)
    if turns and turns[0]["from"] == "gpt":
        turns = turns[1:]
        repairs["an answer before any question left out"] += 1
    if turns and turns[-1]["from"] == "human":
        turns = turns[:-1]
        repairs["a question without answer left out"] += 1
    if not turns:
        raise UnusableSample("no question with an answer")
    if [turn["from"] for turn in turns] != ["human", "gpt"] * (len(turns) // 2):
        raise UnusableSample("human and assistant do not take turns")
    if with_image:
        turns[0]["value"] = f"{IMAGE_TOKEN}\n{turns[0]['value']}"
    return turns, repairs


def _get_speaker(turn: Any) -> str:
    match turn:
        case {"from": "human" | "gpt" as speaker, "value": str() | int() | float() as value}:
            if not isinstance(value, bool):
                return speaker
    raise UnusableSample("a turn that is neither a human's nor the assistant's")


def _remove_mark(text: str, with_image: bool) -> str:
    if with_image:
        return text.replace(IMAGE_TOKEN, "").strip()
    return text.replace(IMAGE_TOKEN, f"{IMAGE_TOKEN[:-1]} {IMAGE_TOKEN[-1]}")


def _read_text(value: str | float, repairs: Counter[str]) -> str:
    if not isinstance(value, str):
        repairs["a number made text"] += 1
        return json.dumps(value)
    text = _replace_surrogates(value)
    if text != value:
        repairs["broken characters replaced"] += 1
    return text


def _replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can hold and UTF-8 cannot."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
