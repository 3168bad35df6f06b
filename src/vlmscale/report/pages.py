"""Pages of HTML that refer to no other file: tables of a report, and the templates in resources/pages."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt

from vlmscale.resources import find_resource

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .25rem .75rem; vertical-align: top; }}
thead th {{ border-bottom: 2px solid #222; text-align: left; }}
p, li {{ max-width: 50rem; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def render_page(text: str, title: str) -> str:
    """Return `text`, Markdown with tables, as an HTML page. HTML within it is shown, not interpreted."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    return _PAGE.format(title=escape(title), body=markdown.render(text))


def fill_page(page: str, title: str, data: Mapping[str, Any], scripts: Sequence[str]) -> str:
    """Fill the template of a page in resources/pages with its style, scripts and data.

    Names and texts within `data` can end neither the element that holds them nor the page's code.
    """
    parts = {
        "title": escape(title),
        "style": _read(f"{page}.css"),
        "data": json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
        .replace("<", "\\u003c")
        .replace(">", "\\u003e"),
        "scripts": "\n".join(_read(name) for name in scripts),
    }
    pieces = _read(f"{page}.html").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _read(name: str) -> str:
    return find_resource(f"pages/{name}").read_text(encoding="utf-8")
