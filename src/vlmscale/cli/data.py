"""LLaVA's training data, downloaded and converted from the command line."""

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
    """The manifest of the split made at `output`, without its list of shards. See prepare()."""
    if output.exists():
        raise UserError(f"{output} is there already. Delete it to have it made anew.")
    manifest = prepare_dataset(
        dataset, raw=raw, output=output, workers=workers, limit=limit, mirrors=mirrors
    )
    return {key: value for key, value in manifest.items() if key != "shards"}


def show(console: Console, report: Report) -> None:
    counts = [[name, f"{count:,}"] for name, count in report["samples_by_source"].items()]
    console.print(
        table(
            f"{report['dataset']}: samples by source",
            ["source", "samples"],
            counts,
            words=["source"],
        )
    )
    mended = {**report["repaired_images"], **report["repaired_conversations"]}
    for what, count in mended.items():
        console.print(f"repaired: {what}, {count:,}")
    console.print(f"{report['rows']:,} samples written, {len(report['skipped']):,} skipped.")
    console.print(f"Licence: {report['licence']}")
