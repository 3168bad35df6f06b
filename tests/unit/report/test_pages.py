"""Pages of a report, made from Markdown."""

from html.parser import HTMLParser

from vlmscale.report.pages import render_page


class Reader(HTMLParser):
    """Collects tags and the texts of table cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.cells, self.references = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href")]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data.strip()


def test_a_table_keeps_its_cells():
    page = Reader(render_page("| law | α |\n|:--|--:|\n| quecc | 0.07 [0.06, 0.12] |\n", "laws"))
    assert page.cells == ["law", "α", "quecc", "0.07 [0.06, 0.12]"]
    assert page.tags.count("table") == 1


def test_headings_and_lists_are_rendered():
    page = Reader(render_page("# Audit\n\nText.\n\n- Verdict: **reproduced**.\n", "audit"))
    assert {"h1", "p", "li", "strong"} <= set(page.tags)


def test_a_page_refers_to_nothing_and_interprets_no_html():
    page = render_page("a < b <script src='x'></script>", "odd")
    assert "script" not in Reader(page).tags
    assert Reader(page).references == []
    assert "&lt;script" in page


def test_a_title_is_text():
    page = Reader(render_page("text", "</title><script>alert(1)</script>"))
    assert "script" not in page.tags


def test_links_run_nothing():
    page = Reader(
        render_page("[a](javascript:alert(1)) <javascript:alert(1)> ![b](data:text/html,x)", "t")
    )
    assert not [link for link in page.references if not link.startswith("http")]
