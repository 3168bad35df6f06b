"""Pages that mkdocs generates from code and from files outside docs/, and links that leave docs/.

mkdocs calls `on_files` and `on_page_markdown` by name.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

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
        "reference/api.md": write_api_reference(),
        **{page: (ROOT / source).read_text() for page, source in SHOWN.items()},
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


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


def _vlmscale(*arguments: str) -> str:
    """Return what the command prints, in plain text of 100 columns."""
    plain = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    code = "import sys; sys.argv[0] = 'vlmscale'; from vlmscale.cli import main; main()"
    program = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(program, capture_output=True, text=True, env=plain, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip()
