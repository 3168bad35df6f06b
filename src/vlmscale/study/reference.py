"""The reference of config keys, written from the models that read them.

python -m vlmscale.study.reference > config.md
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vlmscale.study.generated import GeneratedStudy
from vlmscale.study.released import ReleasedStudy
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


def write_config_reference() -> str:
    """Return a Markdown page: one section per model, one row per key with type, default and meaning."""
    return _INTRO + "\n\n".join(map(_section, config_models())) + "\n"


def config_models() -> list[type[BaseModel]]:
    """Return the kinds of studies, then every model in them, each after the one it extends."""
    found: list[type[BaseModel]] = list(_TITLES)

    def add(model: type[BaseModel]) -> None:
        if model not in found:
            if (base := _base(model)) is not None:
                add(base)
            found.append(model)
            add_parts(model)

    def add_parts(model: type[BaseModel]) -> None:
        for field in own_fields(model).values():
            for part in _models_in(field.annotation):
                add(part)

    for kind in _TITLES:
        add_parts(kind)
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
    lines = [f"## {_title(model)}", "", (model.__doc__ or "").split("\n\n")[0]]
    if base is not None:
        lines += ["", f"All keys of {_link(_title(base))}, and:"]
    lines += ["", "| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in own_fields(model).items():
        value = schema["properties"][key]
        default = "required" if field.is_required() else _default(value["default"])
        meaning = (field.description or "").replace("<", "&lt;").replace("|", "&#124;")
        lines.append(f"| `{key}` | {_type(value)} | {default} | {meaning} |")
    return "\n".join(lines)


def _title(model: type[BaseModel]) -> str:
    return _TITLES.get(model, model.__name__)


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
            values = [
                *schema.get("patternProperties", {}).values(),
                schema.get("additionalProperties"),
            ]
            return f"name -> {_type(values[0])}"
        case {"type": str(kind)}:
            return " ".join([kind, *_bounds(schema)])
    return "any value"


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    words = {"minimum": "from", "exclusiveMinimum": "above"}
    words |= {"maximum": "to", "exclusiveMaximum": "below"}
    for key, word in words.items():
        if key in schema:
            yield f"{word} {schema[key]:g}"


if __name__ == "__main__":
    sys.stdout.write(write_config_reference())
