"""Read configs of studies: YAML to a valid study, or one error that names file, key and cure.

python -m vlmscale.study.load           the JSON schema of configs
python -m vlmscale.study.load x.yaml    the name of the study that a config describes
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from vlmscale.errors import UserError
from vlmscale.study.complaints import list_complaints
from vlmscale.study.evaluated import EvaluatedStudy
from vlmscale.study.kinds import GeneratedStudy, ReleasedStudy
from vlmscale.study.reader import read_config, resolve_words
from vlmscale.study.schema import Study

_NONE: Mapping[str, Any] = MappingProxyType({})


AnyStudy = Study | EvaluatedStudy


def validate(raw: Mapping[str, Any], source: str) -> AnyStudy:
    """Return the study described by `raw`: no value is converted, but integers count as numbers.

    Raises UserError that names the file `source` and the key.
    """
    kind: type[AnyStudy] = ReleasedStudy if raw.get("world") is None else GeneratedStudy
    if "models" in raw:
        kind = EvaluatedStudy
    try:
        return kind.model_validate(_freeze(raw), strict=True)
    except ValidationError as error:
        lines = "\n  ".join(list_complaints(error))
        raise UserError(f"{source} is not a valid study:\n  {lines}") from None


def load_study(path: str | Path, *others: str | Path, changes: Mapping[str, Any] = _NONE) -> Study:
    """Read and validate the YAML file of a study that trains. Raises UserError when it is not one.

    Arguments as of load_any_study.
    """
    study = load_any_study(path, *others, changes=changes)
    if isinstance(study, EvaluatedStudy):
        raise UserError(
            f"{path} evaluates released models and trains none, which this needs. Name a study that does."
        )
    return study


def load_any_study(
    path: str | Path, *others: str | Path, changes: Mapping[str, Any] = _NONE
) -> AnyStudy:
    """Read and validate a study's YAML file. Raises UserError when it is not one.

    others: files whose keys replace earlier ones, level by level. changes: keys that replace them all.
    """
    raw: dict[str, Any] = {}
    for part in (*map(read_config, (path, *others)), resolve_words(changes)):
        raw = _merge(raw, part)
    return validate(raw, " + ".join([*map(str, (path, *others)), *["--config"] * bool(changes)]))


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the keys of `new`; mappings are merged, as snakemake does with its configs."""
    both = {**old, **new}
    for key in old.keys() & new.keys():
        if isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            both[key] = _merge(old[key], new[key])
    return both


def _freeze(value: Any) -> Any:
    """Return `value` with tuples for lists, which strict models take."""
    if isinstance(value, Mapping):
        return {key: _freeze(part) for key, part in value.items()}
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a study: `models` or `world` tells which of the three kinds it is."""
    kinds = (EvaluatedStudy, GeneratedStudy, ReleasedStudy)
    refs, schema = models_json_schema([(kind, "validation") for kind in kinds])
    evaluated, generated, released = (refs[kind, "validation"] for kind in kinds)
    trained = {"if": {"required": ["world"]}, "then": generated, "else": released}
    return {**schema, "if": {"required": ["models"]}, "then": evaluated, "else": trained}


if __name__ == "__main__":
    if sys.argv[1:]:
        try:
            print(load_any_study(sys.argv[1]).study)
        except UserError as error:
            sys.exit(f"error: {error}")
    else:
        print(json.dumps(json_schema(), indent=2, sort_keys=True))
