"""Lay out what the hub's client uploads: a trained model with its card, or a study's tables."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vlmscale.errors import UserError
from vlmscale.records.files import atomic_folder, check_folder_content, read_json
from vlmscale.records.parquet import read_parquet
from vlmscale.records.signature import read_signed
from vlmscale.records.texts import read_markdown
from vlmscale.report.card import choose_licence

# Tables without a question, a target or an answer in words.
_TABLES = (
    *(
        "errors",
        "trainings",
        "chance",
        "laws",
        "draws",
        "intervals",
        "forms",
        "variants",
        "profile",
    ),
    *(
        "frontier",
        "envelope",
        "paired",
        "suites",
        "corrected",
        "difficulty",
        "fewest_tokens",
        "one_token",
        "budget_law",
        "lifetime",
        "verdicts",
        "sanity",
        "cost",
        "latency",
    ),
    "audit",
)


def publish(folder: Path, output: Path) -> list[str]:
    """Copy to `output` what may be passed on of a model or a study; return the files.

    folder: RESULTS/runs/RUN/stage2 (or its model) for a model, RESULTS for a study's tables. Nothing is
    uploaded. Raises UserError for another folder, for damaged files or an incomplete model, where a licence
    is not known, and if `output` exists.
    """
    if output.exists():
        raise UserError(f"{output} exists. Name a folder that does not, or delete it.")
    stage2 = folder.parent if folder.name == "model" else folder
    with atomic_folder(output) as scratch:
        if (stage2 / "model").is_dir():
            _copy_model(stage2, scratch)
        elif (folder / "errors.parquet").is_file():
            _copy_tables(folder, scratch)
        else:
            raise UserError(
                f"{folder} is neither a trained model (RESULTS/runs/RUN/stage2) nor the results folder of "
                "a finished study (with errors.parquet)."
            )
    return sorted(str(file.relative_to(output)) for file in output.rglob("*") if file.is_file())


def _copy_model(stage2: Path, scratch: Path) -> None:
    model, card = stage2 / "model", stage2 / "README.md"
    if not card.is_file():
        raise UserError(
            f"{card} is missing: the card is written when the study has evaluated the model. Let the "
            "workflow finish first."
        )
    check_folder_content(model)
    results = stage2.parents[2]
    data = [read_json(file) for file in sorted((results / "data").glob("stage*/manifest.json"))]
    if not data:
        raise UserError(f"{results}/data has no manifest of training data, so no licence is known")
    licence = choose_licence(_read_backbones(results, model), data)
    if not licence.known:
        raise UserError(f"{model}: {licence.text}")
    written = read_json(model / "checksums.json")["files"]
    there = {file.name for file in model.iterdir() if not file.name.startswith(".")}
    if added := there - {"checksums.json", *written}:
        raise UserError(
            f"{model} holds {', '.join(sorted(added))}, which the study has not written. Move it away."
        )
    for name in written:
        shutil.copyfile(model / name, scratch / name)
    (scratch / "README.md").write_text(read_markdown(card), encoding="utf-8")
    read_json(stage2 / "run.json")  # refuses a damaged one
    shutil.copyfile(stage2 / "run.json", scratch / "run.json")


def _read_backbones(results: Path, model: Path) -> dict[str, Mapping[str, Any]]:
    """Return the records of the model's LLM and tower, which its config names."""
    config = read_json(model / "config.json")
    names = {"llm": config["text_config"], "tower": config["vision_config"]}
    return {
        part: read_json(results / "backbones" / f"{Path(one['_name_or_path']).name}.json")
        for part, one in names.items()
    }


def _copy_tables(results: Path, scratch: Path) -> None:
    tables = [name for name in _TABLES if (results / f"{name}.parquet").is_file()]
    for name in tables:
        content = read_signed(results / f"{name}.parquet", required=True)
        (scratch / f"{name}.parquet").write_bytes(content)
    errors = read_parquet(results / "errors.parquet")
    study = results.resolve().name
    head = {
        "license": "apache-2.0",
        "pretty_name": f"vlmscale: {study}",
        "tags": ["vlmscale", "scaling-laws", "vision-language"],
        "configs": [{"config_name": name, "data_files": f"{name}.parquet"} for name in tables],
    }
    listed = "\n".join(f"- `{name}.parquet`" for name in tables)
    text = f"""---
{yaml.safe_dump(head, sort_keys=False).strip()}
---
# {study}: scores and laws

Results of the study `{study}` of vlmscale: {errors["cell"].nunique()} trained and evaluated cells of
{errors["llm"].nunique()} LLMs, methods {", ".join(sorted(errors["method"].unique()))}, from
{errors["visual_tokens"].min()} to {errors["visual_tokens"].max()} visual tokens.

{listed}

`errors.parquet` has one row for each cell and benchmark; each file's metadata hold its versions and config.
Questions and answers are left out: those of downloaded benchmarks may not be passed on.
"""
    (scratch / "README.md").write_text(text, encoding="utf-8")
