"""Numbers as text say what they mean, also at bounds."""

import re

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from vlmscale.report.format import format_interval, format_markdown, format_ratio, write_table

INF = float("inf")


@pytest.mark.parametrize(
    ("ends", "digits", "text"),
    [
        ((0.07, 0.06, 0.12), 3, "0.070 [0.060, 0.120]"),
        ((0.07, float("nan"), float("nan")), 3, "0.070"),
        ((0.0, 0.0, 0.0), 4, "0.0000 [at the bound]"),
        ((576.0, 576.0, 576.0), 1, "576.0 [at the bound]"),
        ((1.0, 576.0, 576.0), 1, "1.0 [at the bound 576.0]"),
        ((INF, INF, INF), 2, "unbounded [at the bound]"),
        ((4.7, 3.8, INF), 2, "4.70 [3.80, unbounded]"),
        ((INF, 3.8, INF), 2, "unbounded [3.80, unbounded]"),
        ((0.00001, 0.0, 0.00002), 4, "0.0000 [0, 2e-05]"),
    ],
)
def test_an_interval_without_a_width_is_no_certainty(ends, digits, text):
    assert format_interval(*ends, digits=digits) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.3, 0.1, 0.2), "0.300 outside [0.100, 0.200]"),
        ((0.2, 0.1, 0.2), "0.200 [0.100, 0.200]"),
        ((0.2003, 0.1, 0.2), "0.200 [0.100, 0.200]"),  # no difference that the digits show
        ((np.inf, 0.1, 0.2), "unbounded outside [0.100, 0.200]"),
    ],
)
def test_a_value_outside_its_interval_says_so(ends, text):
    assert format_interval(*ends, digits=3) == text


def test_a_ratio_without_an_end():
    assert [format_ratio(r) for r in (4.7, 2e4, INF)] == ["4.70", "> 10000", "unbounded"]


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></tr></table><iframe src=x>",
    "a | b | c",
    "two\nlines\r\nand more",
    "<!-- all that follows",
    "\\input{/etc/passwd}",
    "\\write18{ls}",
    "$x$ {y} & 50 % #1 a_b ~ ^",
    "plain < 5 > 3",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_ends_a_cell_of_a_markdown_table_or_reads_as_html(name):
    frame = pd.DataFrame({name: ["value"], "method": [name]})
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(format_markdown(frame))
    tags = re.findall(r"<(\w+)", page)
    assert set(tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert (tags.count("th"), tags.count("td"), tags.count("table")) == (2, 2, 1)
    assert "<!--" not in page


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_a_command_of_latex(name, tmp_path):
    frame = pd.DataFrame({name: ["value"], "method": [name]})
    write_table(frame, tmp_path / "t.md", tmp_path / "t.tex")
    text = (tmp_path / "t.tex").read_text()
    commands = set(re.findall(r"\\([a-z]+)", text))
    assert commands <= {
        *("begin", "end", "toprule", "midrule", "bottomrule"),
        *("textbackslash", "textasciitilde"),
    }
    body = re.sub(r"\\(?:begin|end)\{tabular\}(?:\{\w+\})?|\\[a-z]+\{\}|\\\^\{\}|\\.", "", text)
    assert not set("{}$#%_") & set(body)
    assert body.count("&") == 2  # one in each row
