"""The smoke study end to end: it is complete, it learned something, and its model opens anywhere."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from transformers import set_seed

from tests.support.paths import ROOT
from vlmscale.methods import list_method_names
from vlmscale.records.parquet import read_provenance
from vlmscale.records.texts import read_markdown
from vlmscale.report.figures import LAW_FIGURES
from vlmscale.study.load import load_study

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def out(smoke):
    return smoke.path / "results/smoke"


def test_repeated_it_does_nothing(smoke):
    assert smoke.planned() == {}


def test_every_cell_has_every_benchmark(out):
    errors, cells = pd.read_parquet(out / "errors.parquet"), pd.read_csv(out / "cells.csv")
    assert set(errors["cell"]) == set(cells["cell"])
    assert (errors.groupby("cell")["benchmark"].nunique() == 11).all()  # ten and the means
    assert errors["error"].between(0, 1).all()
    assert errors.groupby("llm")["n_params_b"].nunique().eq(1).all()
    assert set(errors["size_axis"]) == {"total"}
    assert set(errors["protocol"]) == {"lmms"}
    assert (
        errors.loc[errors.llm == "d64", "n_params_b"].iloc[0]
        > 3 * (errors.loc[errors.llm == "d32", "n_params_b"].iloc[0])
    )


def test_scores_are_the_means_of_their_samples(out):
    for folder in (out / "cells").iterdir():
        samples = pd.read_parquet(folder / "samples.parquet")
        scores = pd.read_parquet(folder / "scores.parquet").set_index("benchmark")
        means = samples.groupby("benchmark")["score"].mean()
        pd.testing.assert_series_equal(means, scores["score"].sort_index(), check_names=False)
        right = samples["answer"].str.lower() == samples["target"].str.lower()
        assert (right == (samples["score"] == 1)).all()


def test_laws_figures_and_provenance(out):
    laws = pd.read_parquet(out / "laws.parquet")
    assert set(zip(laws["series"], laws["family"], strict=True)) == {
        (series, family) for series in ("tokenpacker", "quecc") for family in ("reasoning", "ocr")
    }
    assert (laws["points"] == 8).all()
    spread = pd.read_parquet(out / "intervals.parquet")
    # two sizes leave nothing to resample, one seed neither; the kept answers do
    schemes = {"hierarchical", "cases", "residual", "wild", "questions", "benchmarks"}
    for _, found in spread.groupby(["series", "family"]):
        assert schemes <= set(found["scheme"]) <= schemes | {"delta method", "jackknife"}
    assert (spread["low"] <= spread["high"]).all()
    for law in laws.itertuples():
        folder = out / f"figures/{law.series}_{law.family}"
        assert len(list(folder.iterdir())) == 2 * len(LAW_FIGURES)
        assert all(figure.stat().st_size > 5_000 for figure in folder.iterdir())
    for name in ("laws", "forms", "variants"):
        assert read_markdown(out / f"tables/{name}.md").count("\n") > len(laws)
    record = read_provenance(out / "cells/d32__quecc__v4__s0/scores.parquet")
    assert record["cell"]["method"] == "quecc"
    assert {"torch", "transformers", "lmms-eval"} <= set(record["versions"])


def test_every_method_is_evaluated_and_trained_no_more_than_needed(out):
    cells = pd.read_csv(out / "cells.csv")
    assert {folder.name for folder in (out / "runs").iterdir()} == set(cells["run"])
    assert cells["run"].nunique() == 26
    assert len(cells) == 42
    study = load_study(ROOT / "config/smoke.yaml")
    used = {study.find_variant(name).method.name for name in cells["method"]}
    assert used == set(list_method_names())
    table = read_markdown(out / "tables/methods.md")
    chance, *rows = [row.split("|") for row in table.splitlines()[2:]]
    assert chance[2].strip() == "chance"
    assert all(0 < float(floor) < 100 for floor in chance[4:-1])
    listed = {(row[1].strip(), row[2].strip(), int(row[3])) for row in rows}
    assert listed == set(
        cells[["llm", "method", "visual_tokens"]].itertuples(index=False, name=None)
    )
    assert all(0 <= float(score) <= 100 for row in rows for score in row[4:-1])


def test_a_miniature_decides_no_claim(out):
    audit = pd.read_parquet(out / "audit.parquet").set_index("id")
    assert len(audit) == 58
    undecided = ["C10", "C11", "C22", "C24", "C49", "C50", "C52", "C53", "C54"]
    assert (audit.loc[undecided, "verdict"] == "needs training").all()
    for claim in ("C24", "C53"):  # of which it has cells, with answers to single questions
        assert "In miniature, study smoke: " in audit.loc[claim, "how"]
    assert (audit["retrained"] == "").all()


def test_methods_are_compared_question_by_question(out):
    paired, errors = (pd.read_parquet(out / f"{name}.parquet") for name in ("paired", "errors"))
    scores = errors.set_index(["llm", "method", "visual_tokens", "benchmark", "family"])["score"]
    single = paired[paired["llm"] != "all"]
    for row in single.itertuples():
        where = (row.llm, row.visual_tokens, row.benchmark, row.family)
        mine, base = (scores[where[0], method, *where[1:]] for method in (row.method, row.baseline))
        assert row.difference == pytest.approx(mine - base)
        assert row.low <= row.difference <= row.high
    assert {"m3", "fastv", "repeat", "blind"} - set(single["method"]) == {
        "repeat"
    }  # no V in common
    suites = pd.read_parquet(out / "suites.parquet")
    asked = load_study(ROOT / "config/smoke.yaml").evaluation.benchmarks
    assert set(suites["without"]) == {"", *asked}
    assert len(asked) == 10


def test_hard_questions_are_chosen_by_other_cells(out):
    parts, counted = (
        pd.read_parquet(out / f"{name}.parquet") for name in ("difficulty", "fewest_tokens")
    )
    # One seed: the other method's cells at one token choose.
    by_one = parts["part"].isin(["one token", "more tokens"])
    assert (parts.loc[by_one, "chosen_by"] == "cells outside the law").all()
    assert set(parts["series"]) == {"tokenpacker", "quecc"}
    share = parts.pivot(index=["series", "family"], columns="part", values="share")
    assert (share["blind"] + share["image"]).to_numpy() == pytest.approx(1)
    by_parts = (share["one token"] + share["more tokens"]).to_numpy()
    assert by_parts == pytest.approx(share["image"].to_numpy())
    by_size = (share["small image"] + share["large image"]).to_numpy()
    assert by_size == pytest.approx(share["image"].to_numpy())
    assert parts["alpha"].notna().eq(parts["scheme"] != "").all()
    assert counted.groupby(["series", "benchmark"])["share"].sum().to_numpy() == pytest.approx(1)


def test_joint_samples_give_the_errors(out):
    samples, errors = (pd.read_parquet(out / f"{name}.parquet") for name in ("samples", "errors"))
    means = samples.groupby(["cell", "benchmark"])["score"].mean()
    listed = errors[errors["benchmark"] != "mean"].set_index(["cell", "benchmark"])["score"]
    pd.testing.assert_series_equal(means, listed.sort_index(), check_names=False)


def test_run_json_tells_the_story_of_a_run(out):
    run = json.loads((out / "runs/d32__quecc__v4__s0/stage2/run.json").read_text())
    assert run["steps"] == run["recipe"]["steps"]
    first, last = run["losses"][0][1], run["losses"][-1][1]
    assert last < first
    assert min(run["seconds"], run["tokens_per_second"], run["peak_memory_bytes"]) > 0
    assert list((out / "tensorboard/d32__quecc__v4__s0/stage2").glob("events*"))


def test_the_report_has_figures_tables_and_verdicts_with_captions(smoke, tmp_path):
    for option in ([], ["--report", str(tmp_path / "report.html")]):
        done = smoke.snakemake("all", "published", *option)
        assert done.returncode == 0, done.stdout[-3000:]
    text = (tmp_path / "report.html").read_text()
    results, categories = (
        json.loads(re.search(rf'<script id="{name}">\s*var {name} = (.*);', text)[1])
        for name in ("results", "categories")
    )
    assert [name[:2] for name in sorted(categories)] == ["1.", "2.", "3.", "4.", "5.", "6."]
    assert all(result["caption"].strip() for result in results.values())
    shown = {(result["labels"]["study"], Path(file).name) for file, result in results.items()}
    names = {*(f"{name}.png" for name in (*LAW_FIGURES, "paired", "difficulty", "cost", "latency"))}
    names |= {f"{name}.html" for name in ("laws", "methods", "paired", "verdicts", "audit")}
    assert {("smoke", name) for name in names} <= shown
    assert {("released scores", name) for name in ("fig4.png", "table1.html")} <= shown
    for name in ("laws", "verdicts", "audit"):
        assert "<table>" in (smoke.path / f"results/smoke/report/{name}.html").read_text()


def test_every_training_has_its_cost(out):
    cost, cells = pd.read_parquet(out / "cost.parquet"), pd.read_csv(out / "cells.csv")
    for stage in ("stage1", "stage2"):
        assert set(cost.loc[cost["stage"] == stage, "run"]) == set(cells["run"])
    measured = ["tokens", "tokens_per_second", "peak_memory_bytes", "attempts", "hours"]
    assert (cost[[*measured, "predicted_flops", "predicted_hours"]] > 0).all(axis=None)
    assert (out / "figures/cost.pdf").stat().st_size > 5_000


def test_every_cell_has_its_latency(out):
    latency, errors = (pd.read_parquet(out / f"{n}.parquet") for n in ("latency", "errors"))
    setting = ["llm", "method", "visual_tokens"]
    cells = errors[[*setting, "n_params_b"]].drop_duplicates()
    # On the size axis of the laws, so that both go into one recommendation.
    both = latency.merge(cells, on=[*setting, "n_params_b"], how="outer", indicator=True)
    assert (both["_merge"] == "both").all()
    asked = [(0, True), (10, False), (10, True)]
    assert sorted(set(zip(latency["text_tokens"], latency["cached_text"], strict=True))) == asked
    timed = latency[latency["skipped"] == ""]
    assert set(latency["method"]) - set(timed[timed["text_tokens"] > 0]["method"]) == set()
    # An image of these keeps nothing that a question could use: they prune, or mix, by the question.
    by_question = {"fastv", "dart", "pyramiddrop", "sparsevlm", "llava_mini"}
    assert set(latency.loc[latency["skipped"] != "", "method"]) == by_question
    assert (timed[["latency_ms", "prefill_ms", "decode_ms", "latency_gflops"]] > 0).all(axis=None)
    assert (out / "figures/latency.pdf").stat().st_size > 5_000
    machines = read_provenance(out / "latency.parquet")["machines"]
    assert machines["d32"]["dtype"] == "float32"
    command = ["recommend", "--json", "--latency-ms", "1000", "--family", "ocr"]
    command += [
        "--latencies",
        str(out / "latency.parquet"),
        "--scores",
        str(out / "errors.parquet"),
    ]
    command += ["--methods", "quecc,mlp", "--text-tokens", "10", "--cached-text"]
    run = [sys.executable, "-c", "from vlmscale.cli import main; main()", *command]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    choices = json.loads(done.stdout)["choices"]
    assert {row["llm"] for row in choices} == {"d32", "d64"}
    assert all(1 <= row["visual_tokens"] <= 36 for row in choices)


def first_questions(out, number):
    """(image, question, answer) of the first turn of training samples with an image."""
    rows = pq.read_table(next((out / "data/stage2_s0").glob("*.parquet"))).to_pylist()
    found = []
    for row in rows:
        if row["image_key"] is not None and len(found) < number:
            question, answer = row["conversations"][:2]
            image = Image.open(io.BytesIO(row["image"]["bytes"]))
            found.append((image, question["value"].removeprefix("<image>\n"), answer["value"]))
    return found


def kind(question):
    """What a question asks for, by its first words; sums are apart by what is added."""
    words = question.split()
    if words[1] in ("left", "above", ":"):
        return words[1]
    return " ".join([words[0], *words[3:-1]]) if words[1] == "of" else words[0]


def test_the_smallest_llm_learned_its_training_questions_and_looks_at_the_image(out):
    from vlmscale.models.checkpoint import load

    model, processor = load(out / "runs/d32__mlp__v36__s0/stage2/model")
    samples = first_questions(out, 400)
    images, questions, answers = map(list, zip(*samples, strict=True))

    def accuracy(shown):
        inputs = processor.ask(shown, questions)
        ids = model.eval().generate(**inputs, max_new_tokens=4)
        given = processor.tokenizer.batch_decode(
            ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        right = [g.strip() == a for g, a in zip(given, answers, strict=True)]
        return sum(right) / len(right)

    set_seed(0)
    # Chance: for every kind of question, always its most frequent answer.
    table = pd.DataFrame({"kind": [kind(question) for question in questions], "answer": answers})
    modes = table.groupby("kind")["answer"].agg(lambda a: a.value_counts().iloc[0])
    chance = modes.sum() / len(table)
    seen = accuracy(images)
    shuffled = accuracy([images[i] for i in np.random.default_rng(0).permutation(len(images))])
    assert seen > chance + 0.15, (seen, chance)
    assert shuffled < seen - 0.15, (seen, shuffled)


def test_a_compressed_model_opens_by_auto_classes_alone(out):
    code = """
import sys, vlmscale.models
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])
processor = AutoProcessor.from_pretrained(sys.argv[1])
inputs = processor.ask([Image.new("RGB", (48, 48), "red")], ["how many ?"])
ids = model.generate(**inputs, max_new_tokens=4)
print(type(model.model.multi_modal_projector).__name__, ids.shape[1] > inputs["input_ids"].shape[1])
"""
    folder = out / "runs/d64__quecc__v4__s0/stage2/model"
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["QueCC", "True"], done.stderr


def test_lmms_evals_own_entry_point_finds_the_adapter(out):
    from lmms_eval.models import get_model

    assert get_model("vlmscale").__name__ == "VlmScale"
