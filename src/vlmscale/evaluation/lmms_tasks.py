"""Name benchmarks as tasks of lmms-eval: `python -m vlmscale.evaluation.lmms_tasks DATA FOLDER exist ...`.

In FOLDER, `lmms-eval --include_path . --tasks vlmscale_exist` then asks these questions of any model.
"""

import argparse
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import yaml

from vlmscale.data.shards import list_shards
from vlmscale.errors import UserError
from vlmscale.evaluation.arrow_copies import arrow_folder, write_arrow
from vlmscale.evaluation.spec import Benchmark, Protocol, read_benchmarks
from vlmscale.jobs.entry import exit_with_message

_OURS = Path(__file__).parent / "tasks"


def find_question_files(benchmarks: Sequence[Benchmark], data: Path) -> dict[str, list[Path]]:
    """Return each benchmark's Parquet files with questions, checked against their manifests."""
    checked: dict[Path, list[Path]] = {}
    files = {}
    for benchmark in benchmarks:
        folder = benchmark.folder(data)
        if folder not in checked:
            # Skip checksums of downloads: fetching has read them, and they can have many GB.
            checked[folder] = list_shards(folder, checksum=benchmark.dataset is None)
        own = [file for file in checked[folder] if fnmatch(file.name, benchmark.files)]
        files[benchmark.benchmark] = own
        if not own:
            raise UserError(
                f"evaluation.benchmarks: {folder} has no {benchmark.files}, the questions of "
                f"{benchmark.benchmark}. There are: {', '.join(f.stem for f in checked[folder])}."
            )
        arrow = arrow_folder(folder, benchmark.split)
        if benchmark.dataset and not arrow.exists():
            raise UserError(
                f"{arrow}, which lmms-eval reads, is missing. Make it: "
                f"python -m vlmscale.evaluation.fetch {data} {benchmark.benchmark}"
            )
    return files


def write_task(
    benchmark: Benchmark, files: Sequence[Path], protocol: Protocol, folder: Path
) -> str:
    """Write lmms-eval's task for the questions in `files` into `folder`; return its name.

    Raises UserError when lmms-eval has no such task. lmms-eval must run in `folder`: a task may read a
    second folder of its dataset, by the link `dataset`, and write submission files.
    """
    name = f"vlmscale_{benchmark.benchmark}"
    source = files[0].parent.resolve()
    # A download has one copy for all evaluations; that of generated questions takes no time.
    arrow = arrow_folder(source, benchmark.split)
    if not benchmark.dataset:
        arrow = folder.resolve() / f"{benchmark.benchmark}-arrow"
        write_arrow(files, benchmark.split, arrow)
    # Written here because it holds paths of this machine; the layers have the rest.
    config = {
        "include": _list_layers(benchmark, protocol),
        "task": name,
        "dataset_path": str(arrow),
        "dataset_name": None,
        "dataset_kwargs": {"load_from_disk": True},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    if benchmark.images:
        (folder / "dataset").unlink(missing_ok=True)
        (folder / "dataset").symlink_to(source.parent)
    return name


def _list_layers(benchmark: Benchmark, protocol: Protocol) -> list[str]:
    """List the files that define a task. The first one with a key decides: protocol, ours, lmms-eval's."""
    (upstream,) = find_spec("lmms_eval").submodule_search_locations  # type: ignore[union-attr, misc]
    name = f"{benchmark.task}.yaml"
    files = [_OURS / protocol / name, _OURS / name, *Path(upstream, "tasks").glob(f"*/{name}")]
    layers = [str(file) for file in files if file.exists()]
    if not layers:
        raise UserError(
            f"{benchmark.benchmark}: neither lmms-eval nor {_OURS} has a task {benchmark.task}"
        )
    return layers


def main() -> None:
    """Write the tasks named on the command line."""
    parser = argparse.ArgumentParser("python -m vlmscale.evaluation.lmms_tasks")
    parser.add_argument("data", type=Path, help="fetched benchmarks, or data/test of a study")
    parser.add_argument("folder", type=Path, help="where to write the tasks")
    parser.add_argument("benchmarks", nargs="+", help="rows of resources/benchmarks.csv")
    parser.add_argument("--protocol", choices=get_args(Protocol), default="lmms")
    given = parser.parse_args()
    benchmarks = read_benchmarks(given.benchmarks)
    files = find_question_files(benchmarks, given.data)
    given.folder.mkdir(parents=True, exist_ok=True)
    for benchmark in benchmarks:
        print(write_task(benchmark, files[benchmark.benchmark], given.protocol, given.folder))


if __name__ == "__main__":
    with exit_with_message():
        main()
