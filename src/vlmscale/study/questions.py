"""The benchmarks that a study names, checked against resources/benchmarks.csv."""

from collections.abc import Sequence

from vlmscale.errors import UserError
from vlmscale.resources import read_benchmark_rows


def choose_benchmarks(names: Sequence[str], *, generated: bool) -> dict[str, dict[str, str]]:
    """Return benchmark -> its row, in the order of `names`.

    generated: whether the study makes its questions. Raises UserError for a benchmark that is unknown,
    repeated or of the other kind of study.
    """
    rows = read_benchmark_rows()
    mine = [b for b, row in rows.items() if (row["task"] == "world") == generated]
    for name in names:
        if names.count(name) > 1:
            what = "is listed twice"
        elif name not in rows:
            what = "is not in resources/benchmarks.csv"
        elif name not in mine:
            what = f"is of a study that {'has no' if generated else 'needs a'} world"
        else:
            continue
        raise UserError(f"evaluation.benchmarks: {name!r} {what}. Choose from: {', '.join(mine)}.")
    return {name: rows[name] for name in names}
