"""The released conversations: read record by record from a JSON list, and cleaned for training."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlmscale.errors import UserError
from vlmscale.settings import IMAGE_TOKEN

CHUNK = 2**24  # characters
_REMEDY = "Delete it and run again to download it anew."

Turn = dict[str, str]


class UnusableSample(Exception):
    """A sample that training cannot use; the message says why."""


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list, never holding all of it. Raises UserError for anything else."""
    # Not ijson: its fast parser turns half a surrogate pair, of which the released text has some, into a
    # question mark that no repair could count; the parser that keeps it is twelve times slower than this.
    decoder = json.JSONDecoder()
    with file.open(encoding="utf-8") as handle:
        text = handle.read(CHUNK).lstrip()
        if not text.startswith("["):
            raise UserError(f"{file} is no JSON list. {_REMEDY}")
        at = 1
        while True:
            while at < len(text) and text[at] in " \t\r\n,":
                at += 1
            if text.startswith("]", at):
                return
            try:
                record, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                more = handle.read(CHUNK)
                if not more:
                    raise UserError(f"{file} ends early or is damaged. {_REMEDY}") from None
                text, at = text[at:] + more, 0
                continue
            if not isinstance(record, dict):
                raise UserError(f"{file} holds more than objects. {_REMEDY}")
            yield record


def get_image_path(record: Mapping[str, Any]) -> str | None:
    """Return the path of the image that a record shows; None if it is text only."""
    path = record.get("image")
    return str(path) if path else None


def clean_conversation(record: Mapping[str, Any]) -> tuple[list[Turn], Counter[str]]:
    """Return the turns as training reads them, and how often each kind of repair was made.

    The image's mark moves to the front of the first human turn, as in LLaVA's own training. Text that
    only looks like the mark is broken up. A last question without answer and a first answer without
    question are dropped. Raises UnusableSample where no question with an answer is left.
    """
    with_image, repairs = get_image_path(record) is not None, Counter[str]()
    conversation = record.get("conversations")
    turns = [
        {"from": _get_speaker(turn), "value": _replace_surrogates(turn["value"], repairs)}
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
        case {"from": "human" | "gpt" as speaker, "value": str()}:
            return speaker
    raise UnusableSample("a turn that is neither a human's nor the assistant's")


def _remove_mark(text: str, with_image: bool) -> str:
    if with_image:
        return text.replace(IMAGE_TOKEN, "").strip()
    return text.replace(IMAGE_TOKEN, f"{IMAGE_TOKEN[:-1]} {IMAGE_TOKEN[-1]}")


def _replace_surrogates(text: str, repairs: Counter[str]) -> str:
    """Replace halves of surrogate pairs, which JSON can hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        repairs["broken characters replaced"] += 1
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
