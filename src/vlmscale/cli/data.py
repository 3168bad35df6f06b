"""Prepare LLaVA's training data from the command line."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vlmscale.cli.output import Report, table
from vlmscale.data.llava.prepare import prepare_dataset
from vlmscale.errors import UserError


def prepare_data(
    dataset: str,
    *,
    output: Path,
    raw: Path,
    workers: int,
    limit: int | None,
    mirrors: Sequence[str],
) -> Report:
    """Make the split `output` and return its manifest without the shards. See prepare_dataset()."""
    if output.exists():
        raise UserError(f"{output} exists already. Delete it to make it anew.")
    manifest = prepare_dataset(
        dataset, raw=raw, output=output, workers=workers, limit=limit, mirrors=mirrors
    )
    return {key: value for key, value in manifest.items() if key != "shards"}


def show(console: Console, report: Report) -> None:
    """Print counts, repairs and the licence."""
    title = f"{report['dataset']}: samples by source"
    counts = [[name, f"{count:,}"] for name, count in report["samples_by_source"].items()]
    console.print(table(title, ["source", "samples"], counts, words=["source"]))
    for repair, count in {**report["repaired_images"], **report["repaired_conversations"]}.items():
        console.print(f"repaired: {repair}, {count:,}")
    console.print(f"{report['rows']:,} samples written, {len(report['skipped']):,} skipped.")
    console.print(f"Licence: {report['licence']}")
