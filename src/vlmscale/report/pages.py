"""Tables as pages of a report: Markdown rendered to HTML that refers to no other file."""

from markdown_it import MarkdownIt

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
    return _PAGE.format(title=title, body=markdown.render(text))
