"""From the evaluated cells of released VLMs to laws, figures and pages; the evaluations stand in for a GPU's."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.support.benchmark_cases import CASES
from tests.support.benchmark_files import write
from tests.support.cli import call, call_json
from tests.support.paths import ROOT
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.planning.evaluations import ModelSpecs
from vlmscale.records.parquet import write_parquet
from vlmscale.records.texts import read_markdown
from vlmscale.study.load import load_any_study

BENCHMARKS = ["chartqa", "textvqa"]
QUESTIONS = 40
IGNORING = "Qwen3-VL-2B__v64"


def make_study(path):
    raw = yaml.safe_load((ROOT / "config/released-vlms.yaml").read_text())
    raw["grid"] = [
        {
            "models": ["Qwen3-VL-2B", "Qwen3-VL-4B", "Qwen3-VL-8B"],
            "visual_tokens": [64, 144, 256, 576],
        },
        {"models": ["InternVL3-1B", "InternVL3-8B"], "visual_tokens": [256, 768, 1280]},
    ]
    kept = {name for block in raw["grid"] for name in block["models"]}
    raw["models"] = {name: model for name, model in raw["models"].items() if name in kept}
    raw["evaluation"]["benchmarks"] = BENCHMARKS
    raw["laws"] = {"bootstrap_draws": 20}
    (path / "study.yaml").write_text(yaml.safe_dump(raw))
    return load_any_study(path / "study.yaml")


def fill(path, study):
    """Make what is fetched, then what each cell's evaluation writes."""
    specs = ModelSpecs(study, scripts=ROOT / "workflow/scripts")
    out = path / specs.out
    for benchmark in read_benchmarks(BENCHMARKS):
        write(benchmark, [row for row, _, _ in CASES[benchmark.benchmark][0]], out / "data/test")
    for name in study.models:
        (out / "models" / name).mkdir(parents=True)
        (out / f"models/{name}.json").write_text(json.dumps({"revision": "a" * 40}))
    families = {row.benchmark: row.family for row in read_benchmarks(BENCHMARKS)}
    for name, cell in specs.cells.items():
        counted = 300.0 if name == IGNORING else 0.9 * cell.visual_tokens
        n = study.decoders[cell.llm].non_embedding_b
        error = 0.2 + 0.3 * n**-0.3 * (cell.visual_tokens / 64) ** -0.2
        right = (np.arange(QUESTIONS) + 0.5) / QUESTIONS > error
        spec = specs.evaluation_spec(name)
        about = {key: spec[key] for key in ("cell", "fingerprint", "protocol")}
        samples = [
            pd.DataFrame(
                {
                    **{"benchmark": benchmark, "id": [str(i) for i in range(QUESTIONS)]},
                    **{"question": "how many?", "target": "2", "answer": "2"},
                    **{"score": right * 1.0, "visual_tokens": counted},
                }
            )
            for benchmark in BENCHMARKS
        ]
        scores = pd.DataFrame(
            {
                **{"benchmark": BENCHMARKS, "family": [families[b] for b in BENCHMARKS]},
                **{"metric": "m", "score": right.mean(), "n": QUESTIONS, "chance": 0.1},
                **{"unparsed": None, "details": "{}", "visual_tokens": counted},
                **{"visual_tokens_p05": counted - 2, "visual_tokens_p95": counted + 2},
                "expected_tokens": 0.9 * cell.visual_tokens,
            }
        )
        folder = out / "cells" / name
        folder.mkdir(parents=True)
        write_parquet(folder / "samples.parquet", pd.concat(samples, ignore_index=True), about)
        write_parquet(folder / "scores.parquet", scores, about)
    return out


@pytest.mark.slow
def test_laws_figures_and_pages_are_made_of_the_counted_tokens(empty):
    study = make_study(empty.path)
    out = fill(empty.path, study)
    planned = empty.planned(config="study.yaml")
    assert not {"evaluate_vlm", "fetch_vlm", "fetch_benchmarks"} & set(planned)
    done = empty.snakemake("all", config="study.yaml", timeout=1500)
    assert done.returncode == 0, done.stdout
    laws = pd.read_parquet(out / "laws.parquet")
    points = laws.set_index(["series", "family"])["points"].to_dict()
    assert points == {
        ("qwen3_vl", "reasoning"): 11,
        ("qwen3_vl", "ocr"): 11,
        ("internvl3", "reasoning"): 6,
        ("internvl3", "ocr"): 6,
    }
    assert set(laws["size_axis"]) == {"non_embedding"}
    log = (out / "logs/collect.log").read_text()
    assert log.startswith("Qwen3-VL-2B at a budget of 64 ignores it: 300.0 visual tokens")
    assert "ignored" in read_markdown(out / "tables/visual_tokens.md")
    for page in ("explorer.html", "gallery.html", "report/visual_tokens.html", "report/laws.html"):
        assert os.path.getsize(out / page) > 1000
    assert not (out / "verdicts.parquet").exists()
    summary = call("summary", out)
    assert "error = A N^-alpha V^-beta + D" in summary
    assert "Qwen3-VL-2B at a budget of 64 ignores it" in " ".join(summary.split())
    assert "Hypotheses" not in summary
    assert "audit" not in call_json("summary", out)["where"]
