"""Read configs of studies: YAML to a valid study, or one error that names file, key and cure."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from vlmscale.errors import UserError
from vlmscale.study.checks import complaints
from vlmscale.study.kinds import GeneratedStudy, ReleasedStudy
from vlmscale.study.schema import Study


def validate(raw: dict[str, Any], source: str) -> Study:
    """Return the study described by `raw`. Raises UserError that names the file `source` and the key."""
    kind = ReleasedStudy if raw.get("world") is None else GeneratedStudy
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = "\n  ".join(complaints(error))
        raise UserError(f"{source} is not a valid study:\n  {lines}") from None


def load_study(path: str | Path) -> Study:
    """Read and validate a study's YAML file. Raises UserError when it is not one."""
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not a valid study: expected keys and values at the top level")
    return validate(raw, str(path))


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a study: `world` tells which of the two kinds it is."""
    kinds = (GeneratedStudy, ReleasedStudy)
    refs, schema = models_json_schema([(kind, "validation") for kind in kinds])
    generated, released = (refs[kind, "validation"] for kind in kinds)
    return {**schema, "if": {"required": ["world"]}, "then": generated, "else": released}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2, sort_keys=True) + "\n")
