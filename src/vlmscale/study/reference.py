"""The reference of config keys, written from the models that read them.

python -m vlmscale.study.reference > config.md
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vlmscale.study.kinds import GeneratedStudy, ReleasedStudy
from vlmscale.study.schema import Study

_INTRO = """\
# Config keys

One YAML file in `config/` is one study. Unknown keys are refused. A study with `world` generates its data
and trains its backbones from nothing; one without takes released data and backbones.

"""
_TITLES: dict[type[BaseModel], str] = {
    Study: "Every study",
    GeneratedStudy: "Generated studies",
    ReleasedStudy: "Released studies",
}
_LEFT_TO_KINDS = {"data", "tower", "llms"}
_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "below",
}


def write_config_reference() -> str:
    """Return a Markdown page: one section per model, one row per key with type, default and meaning."""
    return _INTRO + "\n\n".join(map(_section, config_models())) + "\n"


def config_models() -> list[type[BaseModel]]:
    """Return the kinds of studies, then every model in them, each after the one it extends."""
    found: list[type[BaseModel]] = list(_TITLES)
    for model in found:  # which grows meanwhile
        for field in own_fields(model).values():
            for part in _models_in(field.annotation):
                found += [new for new in (_base(part), part) if new and new not in found]
    return found


def own_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the keys that `model` itself describes, without those of the model it extends."""
    return {
        key: field
        for key, field in model.model_fields.items()
        if key in model.__annotations__ and not (model is Study and key in _LEFT_TO_KINDS)
    }


def _base(model: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model with keys that `model` extends, if there is one."""
    base = model.__base__
    return base if base is not None and issubclass(base, BaseModel) and base.model_fields else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _section(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    base = _base(model)
    title = _TITLES.get(model, model.__name__)
    lines = [f"## {title}", "", (model.__doc__ or "").split("\n\n")[0]]
    if base is not None:
        lines += ["", f"All keys of {_link(_TITLES.get(base, base.__name__))}, and:"]
    lines += ["", "| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in own_fields(model).items():
        value = schema["properties"][key]
        default = "required" if field.is_required() else _default(value["default"])
        meaning = (field.description or "").replace("<", "&lt;").replace("|", "&#124;")
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
            bounds = [f"{word} {schema[key]:g}" for key, word in _BOUNDS.items() if key in schema]
            return " ".join([kind, *bounds])
    return "any value"


if __name__ == "__main__":
    sys.stdout.write(write_config_reference())
