"""Prepare LLaVA's training data from the command line."""

from pathlib import Path
from typing import Any

from rich.console import Console

from vlmscale.cli.output import Columns, Report, print_table
from vlmscale.data.llava.prepare import prepare_dataset
from vlmscale.data.photographs.prepare import CAPTIONS, QUESTIONS
from vlmscale.errors import UserError


def prepare_data(dataset: str, *, output: Path, **options: Any) -> Report:
    """Make the split `output` and return its manifest without the shards. options: of prepare_dataset."""
    if output.exists():
        raise UserError(f"{output} exists already. Delete it to make it anew.")
    if dataset in (CAPTIONS, QUESTIONS):
        raise UserError(
            f"{dataset} is prepared by a study that names it: snakemake data --configfile config/real.yaml"
        )
    manifest = prepare_dataset(dataset, output=output, **options)
    return {key: value for key, value in manifest.items() if key != "shards"}


def show(console: Console, report: Report) -> None:
    """Print counts, repairs and the licence."""
    title = f"{report['dataset']}: samples by source"
    columns: Columns = {"source": lambda row: row[0], "samples": lambda row: f"{row[1]:,}"}
    print_table(console, title, report["samples_by_source"].items(), columns, words=["source"])
    for repair, count in {**report["repaired_images"], **report["repaired_conversations"]}.items():
        console.print(f"repaired: {repair}, {count:,}")
    console.print(f"{report['rows']:,} samples written, {len(report['skipped']):,} skipped.")
    console.print(f"Licence: {report['licence']}")
