"""Read the files of `--configfile` as data before snakemake does, which would run the Python in one.

Snakemake loads config files, by a reader that executes `__use_yte__`, before it opens the Snakefile. Before
that it imports its plugins, this one among them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vlmscale.errors import UserError, printable
from vlmscale.study.reader import read_config


def is_snakemake(program: str) -> bool:
    """Tell whether this process is snakemake's command line."""
    path = Path(program)
    return path.name == "snakemake" or path.parts[-2:] == ("snakemake", "__main__.py")


def check_config_files(arguments: Sequence[str], folder: Path) -> None:
    """Raise UserError for a file of --configfile that is no config, when the workflow is this project's.

    arguments: of the snakemake command, started in `folder`.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*")  # told apart from an abbreviated --configfile
    parser.add_argument("--snakefile", "-s", default="Snakefile")
    try:
        typed = parser.parse_known_args(arguments)[0]
    except (argparse.ArgumentError, SystemExit):
        return  # snakemake says what is wrong with its options
    if not (folder / typed.snakefile).resolve().with_name("src").joinpath("vlmscale").is_dir():
        return  # somebody else's workflow
    for file in typed.configfile:
        if not (folder / file).exists():
            raise UserError(
                f"--configfile: there is no file {file!r}. If it is a target, put it before --configfile."
            )
        read_config(folder / file)


def refuse_programs() -> None:
    """End this process, a snakemake, with one line if it was given such a file."""
    try:
        check_config_files(sys.argv[1:], Path.cwd())
    except UserError as error:
        sys.exit(f"error: {printable(str(error))}")
