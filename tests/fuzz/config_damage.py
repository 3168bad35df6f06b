"""Random damage to configs of studies: values, lines and bytes."""

import copy
import math
import random

import yaml

from tests.support.paths import ROOT

BASES = {
    path.stem: path.read_text()
    for name in ("smoke", "mini", "paper", "table1")
    for path in [ROOT / f"config/{name}.yaml"]
}
PARSED = {name: yaml.safe_load(text) for name, text in BASES.items()}
VALUES = [
    *(
        True,
        False,
        None,
        0,
        1,
        -1,
        2,
        3,
        7,
        36,
        2**31,
        2**32,
        2**63,
        10**30,
        1e-320,
        1e308,
        0.5,
        -0.5,
    ),
    *(
        math.inf,
        -math.inf,
        math.nan,
        "",
        "x",
        "1",
        "yes",
        "1e3",
        "é",
        "a" * 300,
        "../x",
        "a/b",
        "con",
    ),
    *(
        "-x",
        "a__b",
        "a\0b",
        "a b",
        "$(id)",
        "{x}",
        "tower",
        "tokenizer",
        "published",
        "full",
        "short",
    ),
    *(
        [],
        {},
        [[]],
        [1, 1],
        [0],
        ["mlp"],
        {"x": 1},
        [True],
        {"steps": 5},
        {"method": "mlp"},
        list(range(40)),
    ),
]
WORDS = [
    *(
        "yes",
        "on",
        "NO",
        "1:30",
        "010",
        "0x1f",
        "1_0",
        ".inf",
        "-.inf",
        ".nan",
        "1e3",
        "2026-01-01",
        "~",
    ),
    *(
        "!!int 010",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!!set {a}",
        "&a [*a]",
        "*none",
        "'",
        '"',
    ),
    *(
        "[",
        "{",
        "{a: 1, a: 2}",
        "1e999",
        "9" * 5000,
        "[" * 3000,
        "\t",
        "|",
        ">-",
        "? x",
        "<<: 3",
        "\x07",
    ),
]
LINES = [
    *("study: other", "stage2: {steps: 1, batch_size: 1, learning_rate: 0.1}", "__use_yte__: true"),
    *(
        "__definitions__: [import os]",
        "1: x",
        "? [a]\n: b",
        "---",
        "...",
        "%YAML 1.1",
        "<<: {latency: true}",
    ),
    *(
        "exclude: [{seed: 0}]",
        "latency: true",
        "cluster: {hours: 0.5, gpus_per_node: 3}",
        "\x00",
        "\ufeff",
    ),
]
ENCODINGS = ["utf-16", "utf-32", "latin-1", "utf-8-sig", "utf-7"]


def damage(rng: random.Random) -> tuple[str, bytes]:
    """Return the name of a config and its text with one to three changes."""
    name = rng.choice(sorted(BASES))
    text = BASES[name]
    if rng.random() < 0.7:
        raw = copy.deepcopy(PARSED[name])
        for _ in range(rng.randint(1, 3)):
            change_value(raw, rng)
        text = yaml.dump(
            raw, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=rng.random() < 0.5
        )
    for _ in range(rng.randint(0, 2)):
        text = change_text(text, rng)
    encoding = rng.choice(ENCODINGS) if rng.random() < 0.05 else "utf-8"
    content = text.encode(encoding, "replace")
    if rng.random() < 0.05:
        at = rng.randrange(len(content) + 1)
        content = content[:at] + bytes([rng.randrange(256)]) + content[at:]
    return name, content


def change_value(raw, rng: random.Random) -> None:
    """Set, delete, rename or copy one random key or item of a config."""
    parent, key = raw, rng.choice(list(raw) or ["study"])
    while isinstance(parent.get(key) if isinstance(parent, dict) else parent[key], dict | list):
        below = parent[key]
        if not below or rng.random() < 0.2:
            break
        parent, key = (
            below,
            rng.choice(list(below) if isinstance(below, dict) else range(len(below))),
        )
    value = parent.get(key) if isinstance(parent, dict) else parent[key]
    match rng.randrange(6):
        case 0 if isinstance(parent, dict):
            parent.pop(key, None)
        case 1 if isinstance(parent, dict):
            parent[str(rng.choice(VALUES))] = parent.pop(key, None)
        case 2 if isinstance(value, int | float) and not isinstance(value, bool):
            parent[key] = value * rng.choice([-1, 0, 0.5, 2, 10, 1000, 1e9])
        case 3 if isinstance(parent, list):
            parent.append(copy.deepcopy(value))
        case 4:
            parent[key] = copy.deepcopy(rng.choice(list(raw.values()) or [None]))
        case _:
            parent[key] = copy.deepcopy(rng.choice(VALUES))


def change_text(text: str, rng: random.Random) -> str:
    """Put a word for a value, or insert, repeat, delete or swap lines."""
    lines = text.splitlines() or [""]
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            key, colon, _ = lines[at].partition(":")
            lines[at] = f"{key}{colon or ':'} {rng.choice(WORDS)}"
        case 1:
            lines.insert(at, rng.choice(LINES))
        case 2:
            lines.append(lines[at])
        case 3:
            del lines[at]
        case _:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines) + "\n"
