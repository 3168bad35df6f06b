"""Pages that mkdocs generates from code and from files outside docs/, and links that leave docs/.

mkdocs calls `on_files` and `on_page_markdown` by name.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from vlmscale.cli.explore import write_explorer_of_scores
from vlmscale.study.reference import write_config_reference

ROOT = Path(__file__).parents[1]
# Page -> the file outside docs/ that it shows.
SHOWN = {
    "reference/studies.md": "config/README.md",
    "reference/results.md": "results/README.md",
    "reference/contributing.md": "CONTRIBUTING.md",
    "reference/changelog.md": "CHANGELOG.md",
}
ROOMS = [
    "analysis",
    "costs",
    "study",
    "planning",
    "models",
    "data",
    "training",
    "evaluation",
    "latency",
]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        "reference/config.md": write_config_reference(),
        "reference/cli.md": write_cli_reference(),
        "reference/methods.md": write_methods_reference(),
        "reliability.md": write_reliability(),
        "reference/api.md": write_api_reference(),
        **{page: (ROOT / source).read_text() for page, source in SHOWN.items()},
    }
    pages["explorer.html"] = write_released_explorer()
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def write_released_explorer() -> str:
    """Return the explorer of the paper's released scores, as `vlmscale explore` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "explorer.html")
        write_explorer_of_scores(page)
        return page.read_text()


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the site's pages; a link to a file that has none becomes its path in code type.

    Raises PluginError for a link to a file that does not exist.
    """
    uri = page.file.src_uri
    source = ROOT / SHOWN.get(uri, f"docs/{uri}")
    shown = {ROOT / path: name for name, path in SHOWN.items()}

    def replace(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups()
        if ":" in target or target.startswith("/"):
            return match[0]
        path = Path(os.path.normpath(source.parent / target))
        name = shown.get(path)
        if name is None and path.is_relative_to(ROOT / "docs"):
            name = path.relative_to(ROOT / "docs").as_posix()
        if name and (path.exists() or files.get_file_from_path(name)):
            relative = os.path.relpath(name, Path(uri).parent)
            return f"{image}[{text}]({relative}{anchor or ''})"
        if not path.exists():
            raise PluginError(f"{source.relative_to(ROOT)}: link to {target}, which does not exist")
        return f"{text} (`{path.relative_to(ROOT)}`)" if text.strip("`") not in target else text

    return LINK.sub(replace, markdown)


def write_cli_reference() -> str:
    """Return the `--help` of every command as a page."""
    main = _vlmscale("--help")
    commands = re.findall(r"^[│ ] +([a-z][\w-]*) {2,}", main.partition("Commands")[2], re.M)
    parts = [f"# Command line\n\n```text\n{main}\n```\n"]
    parts += [
        f"## vlmscale {name}\n\n```text\n{_vlmscale(name, '--help')}\n```\n" for name in commands
    ]
    return "\n".join(parts)


def write_api_reference() -> str:
    """Return a page that mkdocstrings fills with the public names of each package."""
    intro = "# Python\n\n`import vlmscale` gives the names of most use; the rest is in these packages.\n"
    return intro + "\n".join(f"\n::: vlmscale.{room}\n" for room in ROOMS)


def write_methods_reference() -> str:
    """Return a page with a row for every method, from its own declaration."""
    report = json.loads(_vlmscale("methods", "--json"))
    rows = []
    for m in report["methods"]:
        counts = f"{m['visual_tokens']}, {m['from']} to {m['to']}"
        rows.append(f"| `{m['method']}` | {m['summary']} | {counts} | {m['source']} |")
    intro = (
        "# Methods\n\nFrom `vlmscale methods`, for a tower of 576 patches. *square*: the side of a grid "
        "that divides the tower's; *any*: every count.\n"
    )
    head = ["| method | what it does | V | source |", "| --- | --- | --- | --- |"]
    return "\n".join([intro, *head, *rows]) + "\n"


def write_reliability() -> str:
    """Return a page with a row for every fault that a test causes, as the test has measured its cost."""
    intro = (
        "# Faults and what they cost\n\nEvery row is a test that causes the fault, measures what is made "
        "again and counts the commands until the result is there; it fails when either changes. What a "
        "training ends with is, bit for bit on CPUs, what it ends with undisturbed. Trainings of the tests "
        "take 12 to 400 steps and write a checkpoint every 2 to 20.\n\n*The same command*: the one that "
        "was interrupted, once more. Rows are written by `WRITE_DRILLS=1 pytest -n 0 -m drill`.\n"
    )
    head = ["| what happens | lost | change first | commands |", "| --- | --- | --- | --- |"]
    with (ROOT / "docs/drills.csv").open(newline="") as file:
        rows = [
            f"| {row['fault']} | {_describe_loss(row)} | {row['first']} | {row['cure'] or 'none'} |"
            for row in csv.DictReader(file)
        ]
    return "\n".join([intro, *head, *rows]) + "\n"


def _describe_loss(row: dict[str, str]) -> str:
    if row["lost"] == "0":
        return "nothing"
    unit = row["unit"]
    if row["lost"] == "1":
        unit = re.sub(r"^(\w+?)(?:(?<=ch)es|s)\b", r"\1", unit)
    return " ".join(filter(None, [row["bound"], row["lost"], unit]))


def _vlmscale(*arguments: str) -> str:
    """Return what the command prints, in plain text of 100 columns."""
    plain = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    code = "import sys; sys.argv[0] = 'vlmscale'; from vlmscale.cli import main; main()"
    program = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(program, capture_output=True, text=True, env=plain, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()
