"""Questions about photographs, and which photographs are held out for them.

Half of the answers to each question are yes, so its text alone tells nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlmscale.data.photographs.archive import Photograph

Turn = tuple[str, str]  # question, answer
CAPTION_REQUEST = "What is shown?"
WHICH_KIND = "Which kind of thing is this?"
BENCHMARKS = ("photo_noun", "photo_kind", "photo_which")
_TEST_SHARE = 5  # one word in five is held out
_EXCHANGES = (
    20  # tried for each photograph, so that all pairs of different kinds are about equally likely
)


def is_held_out(photograph: Photograph) -> bool:
    """Return whether a photograph is for the benchmarks: all that show one thing, or none of them."""
    return hashlib.sha256(photograph.head.encode()).digest()[0] % _TEST_SHARE == 0


def draw_turns(
    photographs: Sequence[Photograph], rng: np.random.Generator
) -> list[dict[str, list[Turn]]]:
    """Return of each photograph: benchmark -> its turns, of which those with yes or no come in pairs.

    Raises ValueError where over half of the photographs show one kind: there are too few others to ask for.
    """
    others = _pair_with_other_kinds(photographs, rng)
    return [
        {
            "photo_noun": _ask_both(shown.phrase, other.phrase),
            "photo_kind": _ask_both(_add_article(shown.kind), _add_article(other.kind)),
            "photo_which": [(WHICH_KIND, shown.kind.capitalize())],
        }
        for shown, other in zip(photographs, others, strict=True)
    ]


def _pair_with_other_kinds(
    photographs: Sequence[Photograph], rng: np.random.Generator
) -> list[Photograph]:
    """Return for each photograph a random one of another kind, each of them once."""
    kinds = [photograph.kind for photograph in photographs]
    number, largest = len(kinds), max(Counter(kinds).values())
    if 2 * largest > number:
        raise ValueError(f"{largest} of {number} photographs show one kind of thing")
    # In an order by kind, what is `largest` places away is of another kind. Then exchange at random.
    order = sorted(range(number), key=kinds.__getitem__)
    others = {i: order[(at + largest) % number] for at, i in enumerate(order)}
    for i, j in rng.integers(number, size=(_EXCHANGES * number, 2)).tolist():
        if kinds[others[j]] != kinds[i] and kinds[others[i]] != kinds[j]:
            others[i], others[j] = others[j], others[i]
    return [photographs[others[i]] for i in range(number)]


def _ask_both(present: str, absent: str) -> list[Turn]:
    return [
        (f"Is there {present} in the image?", "Yes"),
        (f"Is there {absent} in the image?", "No"),
    ]


def _add_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
