"""Benchmarks of photographs through lmms-eval, and the page that shows them."""

import pandas as pd
import pytest

from tests.support.scripted import Scripted
from vlmscale.data.columns import QUESTION
from vlmscale.data.shards import write_split
from vlmscale.evaluation.arrow_copies import arrow_folder, write_arrow
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.run import score_benchmark
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.images import encode_png
from vlmscale.records.parquet import write_parquet
from vlmscale.report.gallery import write_gallery

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("offline")]


@pytest.fixture
def asked(tmp_path, images):
    """One image of a size of its own for each question: benchmark, folder of data, files."""
    (benchmark,) = read_benchmarks(["photo_noun"])
    folder = benchmark.folder(tmp_path / "data")
    rows = [
        {
            "id": f"birds/owl-{i}",
            "image": {"bytes": encode_png(images[0].resize((30 + i, 20))), "path": None},
            "image_key": str(i),
            "question": f"Is there an owl {i} in the image?",
            "answer": answer,
        }
        for i, answer in enumerate(["Yes", "No", "Yes", "No"])
    ]
    write_split(folder, {"test-00000-of-00001": rows}, QUESTION, {})
    write_arrow([folder / "test-00000-of-00001.parquet"], "test", arrow_folder(folder, "test"))
    return benchmark, tmp_path / "data", find_question_files([benchmark], tmp_path / "data")


def test_answers_are_scored_as_yes_and_no(asked):
    benchmark, _, files = asked
    model = Scripted(["Yes", "no", "No", "It is not."])
    samples, row = score_benchmark(model, benchmark, files["photo_noun"], "lmms", 2)
    assert samples["score"].tolist() == [1, 1, 0, 0]
    assert samples["id"].tolist() == [f"birds/owl-{i}" for i in range(4)]
    assert row["score"] == 0.5
    assert model.sizes == {i: [(30 + i, 20)] for i in range(4)}
    assert model.prompts[2] == "Is there an owl 2 in the image?"


def test_the_page_links_photographs_and_does_not_embed_them(asked, tmp_path):
    """They are under a licence that asks something of whoever passes them on (docs/licences.md)."""
    benchmark, data, files = asked
    answers, _ = score_benchmark(Scripted(["Yes"] * 4), benchmark, files["photo_noun"], "lmms", 4)
    write_parquet(tmp_path / "samples.parquet", answers, {})
    described = {"cell": "c", "llm": "tiny", "n_params_b": 0.1, "method": "mlp", "visual_tokens": 4}
    errors = pd.DataFrame([{**described, "seed": 0, "budget": "full"}])
    page = tmp_path / "gallery.html"
    samples = {"c": tmp_path / "samples.parquet"}
    write_gallery(page, "real", errors, samples, [benchmark], data, most=100)
    assert len(list((tmp_path / "gallery_images").glob("*.png"))) == 4
    assert "data:image" not in page.read_text()
    assert "gallery_images/" in page.read_text()
