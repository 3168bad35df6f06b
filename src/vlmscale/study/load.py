"""Configs of studies, read: YAML to a valid Study, or one error that names file, key and cure."""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vlmscale.errors import UserError
from vlmscale.study.checks import Contradiction, check_consistent, complaints
from vlmscale.study.schema import Study


def validate(raw: dict[str, Any], source: str) -> Study:
    """The study described by `raw`. Raises UserError naming the file `source`, key, value and cure."""
    try:
        study = Study.model_validate(raw)
        check_consistent(study)
    except ValidationError as error:
        lines = "\n  ".join(complaints(error))
        raise UserError(f"{source} is not a valid study:\n  {lines}") from None
    except Contradiction as error:
        raise UserError(f"{source} is not a valid study:\n  {error}") from None
    return study


def check_benchmarks(study: Study, known: Collection[str], table: str) -> None:
    """Raise UserError unless every benchmark of the study is `known`, a row of the file `table`."""
    asked = study.evaluation.benchmarks
    for name in asked:
        if name not in known or asked.count(name) > 1:
            what = "is listed twice" if name in known else f"is not in {table}"
            raise UserError(
                f"evaluation.benchmarks: {name!r} {what}. There are: {', '.join(known)}."
            )


def load_study(path: Path) -> Study:
    """Read and validate a study's YAML file. Raises UserError when it is not one."""
    try:
        raw = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} is not a valid study: expected keys and values at the top level")
    return validate(raw, str(path))


def schema() -> str:
    """The JSON schema of a study, as it stands in config/schema.json."""
    return json.dumps(Study.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema())
