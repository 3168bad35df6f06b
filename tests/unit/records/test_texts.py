"""Markdown for people holds its checksum, out of sight; what has changed since is refused by name."""

import random

import pytest
from markdown_it import MarkdownIt

from vlmscale.errors import Damaged
from vlmscale.records.texts import read_markdown, write_markdown

TEXTS = [
    "",
    "| α | V |\n| --- | --- |\n| 0.07 | 1 |\n",
    "no newline at the end",
    "---\nlicense: mit\n---\n# a\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_it_was_written(tmp_path, text):
    for name in "ab":
        write_markdown(tmp_path / f"{name}.md", text)
    assert read_markdown(tmp_path / "a.md") == text
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()


def test_the_checksum_is_a_comment_after_the_table(tmp_path):
    write_markdown(tmp_path / "a.md", TEXTS[1])
    page = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = page.parse((tmp_path / "a.md").read_text(encoding="utf-8"))
    assert tokens[-1].type == "html_block"
    assert tokens[-1].content.startswith("<!--")
    assert sum(token.type == "tr_open" for token in tokens) == 2


def test_every_damage_is_named(tmp_path):
    file, rng = tmp_path / "laws.md", random.Random(0)
    write_markdown(file, TEXTS[1])
    whole = file.read_bytes()
    cuts = [whole[:at] for at in range(len(whole))]
    flips = [
        whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        for at in range(len(whole))
    ]
    edits = [whole.replace(b"0.07", b"0.70"), whole + b"| 0.01 | 9 |\n", b"\0" * len(whole)]
    for content in cuts + flips + edits:
        file.write_bytes(content)
        with pytest.raises(Damaged, match=r"laws\.md is damaged.* Make it anew\.") as caught:
            read_markdown(file, "Make it anew.")
        assert caught.value.path == file
