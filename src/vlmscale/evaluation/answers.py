"""Read the answers that models give in words, as a person would. What no rule can read is None."""

import ast
import re
from collections.abc import Sequence

_MARKUP = re.compile(r"[*`$]|\\[()\[\]]|\\(?:boxed|text|textbf|mathrm)\b")
_FRACTION = re.compile(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}")
_ANNOUNCEMENT = re.compile(
    r"\b(?:answer|option|choice|result)\b(?:\s+(?:is|would be|should be))?\s*[:=]?\s+",
    re.IGNORECASE,
)
_REASON = re.compile(r"\bbecause\b|\bsince\b|[(;\n]|[.,!]\s")
_EDGES = " \t\n.,;:!?'\"“”‘’{}"
_ARTICLE = re.compile(r"^(?:a|an|the)\s+", re.IGNORECASE)
# An option's letter: alone, in brackets, before its text, or announced, where A may be an article.
_LETTERS = (
    re.compile(r"^\(?([A-Za-z])\)?[.:)]?$"),
    re.compile(r"\(([A-Z])\)"),
    re.compile(r"^([A-Z])[.:)]\s"),
)
_ANNOUNCED_LETTER = re.compile(
    r"^(?!A\s+(?!because|since)[a-z])([A-Z])\b(?!\s*(?:or|and|,|/)\s*[A-Z]\b)"
)
_NOT_DENIED = r"(?<!not )(?<!not a )(?<!not the )(?<![\w/.-])"
_NUMBER = re.compile(r"(?<![\w^])-?(?:(?:\d{1,3}(?:,\d{3})+|\d+)\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_QUOTIENT = re.compile(rf"({_NUMBER.pattern})\s*/\s*(\d+)")
_SEVERAL = re.compile(rf"\(?({_NUMBER.pattern}(?:(?:,\s+|,?\s+and\s+){_NUMBER.pattern})+)\)?")
_UNITS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen",
)
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6}
# Before "one", these make a pronoun of it.
_DETERMINERS = re.findall(r"\w+", "no this that the which each any every other first last")


def read_choice(answer: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the option that an answer names by its letter or its text."""
    letters = [chr(ord("A") + i) for i in range(len(choices))]
    known = {letter: _reduce(choice) for letter, choice in zip(letters, choices, strict=True)}
    text = _remove_markup(answer)
    announced = _find_announced(text)
    for part in filter(None, (announced, text)):
        for piece in (part, _REASON.split(part, maxsplit=1)[0]):
            same = [letter for letter, choice in known.items() if choice == _reduce(piece)]
            if len(same) == 1:
                return same[0]
        patterns = (_ANNOUNCED_LETTER, *_LETTERS) if part is announced else _LETTERS
        for pattern in patterns:
            named = {letter.upper() for letter in pattern.findall(part.strip())} & set(letters)
            if named:
                return named.pop() if len(named) == 1 else None
    return _find_mentioned(text, known)


def read_number(answer: str, *, fractions: bool = False) -> str | None:
    """Return the number that an answer gives: the announced one, else the last; in digits, or in words.

    fractions: divide 3/4.
    """
    text = _remove_markup(answer).replace("−", "-")
    announced = _find_announced(text)
    for part in filter(None, (announced and _REASON.split(announced, maxsplit=1)[0], text)):
        if fractions and (quotients := _QUOTIENT.findall(part)) and float(quotients[-1][1]):
            above, below = (float(number.replace(",", "")) for number in quotients[-1])
            return str(above / below)
        if numbers := _NUMBER.findall(part):
            return str(numbers[-1]).replace(",", "")
        if words := _find_number_words(part):
            return str(words[-1])
    return None


def read_list(answer: str) -> str | None:
    """Return the last list in brackets, or the numbers of an answer that has nothing else."""
    text = _remove_markup(answer)
    found = re.findall(r"\[[^\[\]]*\]", answer)
    if not found and (several := _SEVERAL.fullmatch((_find_announced(text) or text).strip(_EDGES))):
        found = [f"[{', '.join(_NUMBER.findall(several[1]))}]"]
    try:
        return str(ast.literal_eval(found[-1])) if found else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _remove_markup(answer: str) -> str:
    return _MARKUP.sub("", _FRACTION.sub(r"\1/\2", answer)).strip()


def _find_announced(text: str) -> str | None:
    """Return what follows the last "answer is", "answer:" or the like."""
    parts = _ANNOUNCEMENT.split(text)
    return parts[-1].strip(_EDGES) or None if len(parts) > 1 else None


def _reduce(text: str) -> str:
    """Return a text without what does not tell options apart: case, spacing, edges, an article."""
    return _ARTICLE.sub("", " ".join(text.split()).strip(_EDGES)).casefold()


def _find_mentioned(text: str, known: dict[str, str]) -> str | None:
    """Return the letter of the only option whose text occurs, if it is not one that occurs by chance."""
    reduced = " ".join(text.split()).casefold()
    found = {
        letter: choice
        for letter, choice in known.items()
        if len(choice) > 1
        and choice not in ("yes", "no")
        and re.search(rf"{_NOT_DENIED}{re.escape(choice)}(?![\w/-])", reduced)
    }
    whole = [
        letter
        for letter, choice in found.items()
        if not any(choice != other and choice in other for other in found.values())
    ]
    return whole[0] if len(whole) == 1 else None


def _find_number_words(text: str) -> list[int]:
    """Return the numbers written in words, such as twenty-one or one hundred and five."""
    numbers: list[int] = []
    total = current = 0
    inside, previous = False, ""
    for word in [*re.findall(r"[a-z]+|[^\sa-z-]", text.casefold()), "."]:
        if word in _SMALL and not (word == "one" and previous in _DETERMINERS):
            current, inside = current + _SMALL[word], True
        elif word in _LARGE and inside:
            current *= _LARGE[word]
            if _LARGE[word] > 100:
                total, current = total + current, 0
        elif inside and not (word == "and" and previous in _LARGE):
            numbers.append(total + current)
            total, current, inside = 0, 0, False
        previous = word
    return numbers
