"""The released conversations: a JSON list, read record by record, and what is put right in them."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError
from vlmscale.settings import IMAGE_TOKEN

_CHUNK = 2**24  # characters

Turn = dict[str, str]


class UnusableSample(Exception):
    """A sample that cannot be learned from; the message says why."""


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, without ever holding the whole list.

    Raises UserError where the file ends early or is no list of objects.
    """
    decoder, space = json.JSONDecoder(), " \t\r\n,"
    with file.open(encoding="utf-8") as handle:
        text = handle.read(_CHUNK).lstrip()
        if not text.startswith("["):
            raise UserError(f"{file} is no JSON list. {_cure(file)}")
        text, at = text[1:], 0
        while True:
            while at < len(text) and text[at] in space:
                at += 1
            if text.startswith("]", at):
                return
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                more = handle.read(_CHUNK)
                if not more:
                    raise UserError(f"{file} ends early or is damaged. {_cure(file)}") from None
                text, at = text[at:] + more, 0
                continue
            if not isinstance(record, dict):
                raise UserError(f"{file} holds more than objects. {_cure(file)}")
            yield record


def get_image_path(record: Mapping[str, Any]) -> str | None:
    """The image that a record shows; None if it is text only."""
    path = record.get("image")
    return str(path) if path else None


def clean_conversation(record: Mapping[str, Any]) -> tuple[list[Turn], Counter[str]]:
    """The turns in the form that training reads, and what was put right, counted.

    The image's mark stands first in the first human turn, as LLaVA's own training puts it. Text that
    only looks like the mark is broken up. What a human says last, unanswered, and an assistant first,
    unasked, is left out. Raises Unfit where nothing can be learned.
    """
    with_image, repairs = get_image_path(record) is not None, Counter[str]()
    said = record.get("conversations")
    turns = [
        {"from": _speaker(turn), "value": _clean(turn["value"], repairs)}
        for turn in (said if isinstance(said, list) else [])
    ]
    marks = sum(turn["value"].count(IMAGE_TOKEN) for turn in turns)
    if marks != with_image:
        repairs["text that reads like the image's mark, or no mark"] += 1
    for turn in turns:
        if IMAGE_TOKEN in turn["value"]:
            turn["value"] = _without_mark(turn["value"], with_image)
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


def _speaker(turn: Any) -> str:
    spoken = isinstance(turn, dict) and isinstance(turn.get("value"), str)
    if not spoken or turn.get("from") not in ("human", "gpt"):
        raise UnusableSample("a turn that is neither a human's nor the assistant's")
    return str(turn["from"])


def _without_mark(text: str, with_image: bool) -> str:
    if with_image:
        return text.replace(IMAGE_TOKEN, "").strip()
    return text.replace(IMAGE_TOKEN, f"{IMAGE_TOKEN[:-1]} {IMAGE_TOKEN[-1]}")


def _clean(text: str, repairs: Counter[str]) -> str:
    """Halves of surrogate pairs, which JSON can say and UTF-8 cannot, become the replacement mark."""
    try:
        text.encode()
    except UnicodeEncodeError:
        repairs["broken characters replaced"] += 1
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _cure(file: Path) -> str:
    return f"Delete {file} and run again: it is downloaded anew."
