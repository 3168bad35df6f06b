"""The reference of config keys, written from their JSON schema.

python -m vlmscale.study.reference > config.md
"""

import json
import sys
from typing import Any

from vlmscale.study.load import json_schema

_INTRO = """\
# Config keys

One YAML file in `config/` is one study. Unknown keys are refused. A study with `world` generates its data
and trains its backbones from nothing; one without takes released data and backbones. A study with `models`
trains nothing: it evaluates released VLMs as they are.

"""
_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "below",
}


def write_config_reference() -> str:
    """Return a Markdown page: one section per model, one row per key with type, default and meaning."""
    models = json_schema()["$defs"]
    generated, released = models.pop("GeneratedStudy"), models.pop("ReleasedStudy")
    evaluated = models.pop("EvaluatedStudy")
    both = [
        key
        for key in generated["properties"]
        if released["properties"].get(key) == generated["properties"][key]
    ]
    every = {
        "description": "Everything that decides the results of a study that trains, and how it is run.",
        "properties": {key: generated["properties"][key] for key in both},
        "required": generated["required"],
    }
    studies = {"Every study": every, "Generated studies": generated, "Released studies": released}
    models = {**studies, "Studies of released VLMs": evaluated, **models}
    return _INTRO + "\n\n".join(_section(title, models) for title in models) + "\n"


def _section(title: str, models: dict[str, Any]) -> str:
    keys = models[title]["properties"].items()
    smaller = [other for other, model in models.items() if model["properties"].items() < keys]
    lines = [f"## {title}", "", models[title]["description"].split("\n\n")[0]]
    inherited = {}
    if smaller:
        base = max(smaller, key=lambda other: len(models[other]["properties"]))
        inherited = models[base]["properties"]
        lines += ["", f"All keys of {_link(base)}, and:"]
    lines += ["", "| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in keys:
        if key not in inherited:
            required = key in models[title].get("required", ())
            default = "required" if required else _default(value["default"])
            meaning = value["description"].replace("<", "&lt;").replace("|", "&#124;")
            lines.append(f"| `{key}` | {_type(value)} | {default} | {meaning} |")
    return "\n".join(lines)


def _link(title: str) -> str:
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return "its defaults" if value and isinstance(value, dict) else f"`{json.dumps(value)}`"


def _type(schema: Any) -> str:
    """Return a JSON schema in words: integer from 2 to 8, list of strings."""
    match schema:
        case {"$ref": str(ref)}:
            return _link(ref.rpartition("/")[2])
        case {"enum": [*values]}:
            return " or ".join(f"`{json.dumps(value)}`" for value in values)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"anyOf": [*parts]}:
            return " or ".join(_type(part) for part in parts if part != {"type": "null"})
        case {"type": "array", "items": items}:
            return f"list: {_type(items)}"
        case {"type": "object"}:
            values = [*schema.get("patternProperties", {}).values()]
            return f"name -> {_type(values[0] if values else schema['additionalProperties'])}"
        case {"type": str(kind)}:
            bounds = [f"{word} {schema[key]:,}" for key, word in _BOUNDS.items() if key in schema]
            return " ".join([kind, *bounds])
    return "any value"


if __name__ == "__main__":
    sys.stdout.write(write_config_reference())
