"""The gallery in a browser: its filters show the questions that they name."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from vlmscale.report.gallery import GalleryCell, embed_image, render_gallery

HOSTILE = "<script>alert(1)</script><b>bold</b>"


def picture(shade: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(file, "PNG")
    return embed_image(file.getvalue())


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 questions; question i is right from the cell number i % 5 on (4: nowhere)."""
    settings = [("small", 1.0, 1), ("small", 1.0, 36), ("large", 7.0, 1), ("large", 7.0, 36)]
    cells = []
    for number, (llm, n, v) in enumerate(settings):
        answers = pd.DataFrame(
            {
                "benchmark": ["scenes" if i < 1000 else "pages" for i in range(2000)],
                "id": [f"test-{i}" for i in range(2000)],
                "question": [f"question {i} ?" for i in range(2000)],
                "target": [HOSTILE if i == 0 else f"truth {i}" for i in range(2000)],
                "answer": [f"{HOSTILE} {i % 7}" for i in range(2000)],
                "score": [float(i % 5 <= number) for i in range(2000)],
            }
        )
        cells.append(GalleryCell(llm, n, "tokenpacker", v, 0, "full", answers))
    images = {
        ("scenes" if i < 1000 else "pages", f"test-{i}"): picture(i % 50) for i in range(2000)
    }
    file = tmp_path_factory.mktemp("gallery") / "gallery.html"
    families = {"scenes": "reasoning", "pages": "ocr"}
    file.write_text(render_gallery("a study", "a note", cells, families, images, most=1000))
    return file


def count(page: Any) -> int:
    return int(page.locator("#count").inner_text().split()[0])


@pytest.mark.slow
def test_filters_show_what_they_name(gallery: Path, open_page: Any) -> None:
    page = open_page(gallery)
    assert count(page) == 2000
    for filtered, expected in (
        ("every question", 2000),
        ("wrong with the fewest tokens, right with the most (largest LLM)", 400),  # i % 5 == 3
        ("right with the fewest tokens, wrong with the most (largest LLM)", 0),
        ("only the largest LLM is ever right", 800),  # 2 and 3
        ("only the smallest LLM is ever right", 0),
        ("every model is right", 400),
        ("every model is wrong", 400),
    ):
        page.select_option("#show", label=filtered)
        assert count(page) == expected, filtered
    page.select_option("#show", index=0)
    page.select_option("#benchmark", "pages")
    assert count(page) == 1000
    page.fill("#search", "Question 1999")
    assert count(page) == 1
    assert page.locator("article .question").all_inner_texts() == ["question 1999 ?"]


@pytest.mark.slow
def test_two_thousand_questions_load_as_one_scrolls(gallery: Path, open_page: Any) -> None:
    page = open_page(gallery)
    first = page.locator("article").count()
    assert 0 < first < 200
    for _ in range(5):
        page.mouse.wheel(0, 100_000)
        page.wait_for_timeout(100)
    assert first < page.locator("article").count() <= 2000
    took = page.evaluate(
        "() => { const t = performance.now(); gallery.select("
        "{benchmark: '', group: 0, show: 1, search: 'truth'}); return performance.now() - t; }"
    )
    assert took < 500


@pytest.mark.slow
def test_shows_images_and_hostile_answers_as_text(
    gallery: Path, open_page: Any, wait_until: Any
) -> None:
    page = open_page(gallery, width=380)
    card = page.locator("article").first
    assert card.locator("p").nth(1).inner_text() == f"Truth: {HOSTILE}"
    assert page.locator("article script, article b").count() == 0
    wait_until(page, "document.querySelector('article img').naturalWidth === 8")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert card.locator("td.right").count() == 4


@pytest.mark.slow
def test_an_address_brings_the_filters_back(gallery: Path, open_page: Any, wait_until: Any) -> None:
    page = open_page(gallery)
    page.select_option("#show", index=6)
    page.fill("#search", "truth 4")
    wait_until(page, "location.hash.includes('truth')")
    again = open_page(gallery, fragment=page.evaluate("location.hash"))
    assert count(again) == count(page) < 400
    assert again.locator("#search").input_value() == "truth 4"
