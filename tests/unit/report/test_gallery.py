import io
import json
import re
from itertools import pairwise

import pandas as pd
import pytest
from PIL import Image

from vlmscale.data.shards import write_manifest
from vlmscale.errors import Damaged
from vlmscale.evaluation.spec import parse_benchmark
from vlmscale.records.parquet import write_parquet
from vlmscale.report.gallery import LONGEST, choose_shown, embed_image, write_gallery
from vlmscale.resources import read_benchmark_rows


def encode(kind, shade=0):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, kind)
    return file.getvalue()


def read_data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_embeds_what_a_browser_shows(kind):
    assert embed_image(encode(kind)).startswith(f"data:image/{kind.lower()};base64,")


@pytest.mark.parametrize("image", [b"", b"%!PS-Adobe", b"<svg></svg>", encode("TIFF")])
def test_refuses_what_no_browser_shows(image):
    with pytest.raises(ValueError, match="none that a browser shows"):
        embed_image(image)


@pytest.mark.parametrize(
    ("count", "most"), [(0, 3), (1, 3), (3, 3), (7, 3), (1000, 100), (1001, 100)]
)
def test_shows_at_most_so_many_questions_evenly(count, most):
    ids = [str(i) for i in range(count)]
    shown = choose_shown(ids, most)
    assert len(shown) <= most
    assert (shown == []) == (count == 0)
    assert len({int(b) - int(a) for a, b in pairwise(shown)}) <= 1


@pytest.fixture
def study(tmp_path):
    """A cell's answers to three questions of a benchmark, and the benchmark's Parquet file."""

    def write(name, damage=None):
        benchmark = parse_benchmark(read_benchmark_rows()[name])
        folder = benchmark.folder(tmp_path / "data")
        folder.mkdir(parents=True)
        file = folder / benchmark.files.replace("*", "00000-of-00001")
        ids = ["7", "8", "9"]
        images = [{"bytes": encode("PNG", i), "path": None} for i in range(3)]
        pd.DataFrame({benchmark.id or "any": ids, "image": images}).to_parquet(file)
        write_manifest(folder, [file.name], {})
        if damage:
            file.write_bytes(damage(file.read_bytes()))
        asked = ids if benchmark.id else ["0", "1", "2"]
        samples = tmp_path / "samples.parquet"
        answers = pd.DataFrame(
            {
                "benchmark": name,
                "id": asked,
                "question": "which?",
                "target": "x",
                "answer": ["x", "y" * 1000, None],
                "score": [1.0, 0.0, 0.5],
            }
        )
        write_parquet(samples, answers, {})
        cell = {"cell": "c", "llm": "d", "n_params_b": 1.0, "method": "mlp", "visual_tokens": 4}
        errors = pd.DataFrame([{**cell, "seed": 0, "budget": "full"}])
        page = tmp_path / "gallery.html"
        write_gallery(page, "s", errors, {"c": samples}, [benchmark], tmp_path / "data", most=10)
        return page

    return write


def test_images_of_generated_questions_stand_in_the_page(study):
    page = study("exist")
    data = read_data(page)
    assert all(image.startswith("data:image/png") for image in data["images"])
    assert not page.with_name("gallery_images").exists()
    (benchmark,) = data["benchmarks"]
    assert [question["scores"] for question in benchmark["questions"]] == [[100], [0], [50]]
    said = [benchmark["answers"][question["answers"][0]] for question in benchmark["questions"]]
    assert said[0] == "x"
    assert len(said[1]) == LONGEST
    assert said[1].endswith("…")
    assert said[2] == ""


@pytest.mark.parametrize(
    "damage", [lambda c: c[:80] + bytes([c[80] ^ 1]) + c[81:], lambda c: c[:-99], lambda c: b""]
)
def test_damaged_questions_are_named(study, damage):
    with pytest.raises(Damaged, match=r"\.parquet is damaged: .* make the split anew"):
        study("exist", damage)


def released(name):
    return parse_benchmark(read_benchmark_rows()[name]).dataset is not None


@pytest.mark.parametrize("name", [name for name in read_benchmark_rows() if released(name)][:4])
def test_images_of_downloaded_benchmarks_are_files_beside_it(study, name):
    page = study(name)
    data = read_data(page)
    assert len(data["images"]) == 3
    for address in data["images"]:
        assert (page.parent / address).read_bytes().startswith(b"\x89PNG")
    assert "data:image" not in page.read_text().split('id="data"')[1]
    assert f"Keep this page to yourself: it has questions of {name}" in data["note"]
