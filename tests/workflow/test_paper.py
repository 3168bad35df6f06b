"""The paper's studies from nothing to their figures, on files in the layouts in which data, backbones and
benchmarks are released. Of their configs sizes and numbers are made small, nothing else.
"""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import time

import pandas as pd
import pytest
import torch
import yaml
from safetensors import safe_open

from tests.support.hub import Hub
from tests.support.paths import ROOT
from tests.support.released import PLAIN, backbones, benchmarks, resources, training_data
from tests.support.trees import COPIED, Tree
from tests.support.upstream import site
from vlmscale.records.parquet import read_provenance
from vlmscale.records.texts import read_markdown
from vlmscale.report.figures import LAW_FIGURES

FITTED, HELD_OUT = ["Qwen1.5-0.5B", "Qwen1.5-1.8B"], ["Qwen1.5-14B"]
BENCHMARKS = ["mme", "gqa", "ai2d", "mmbench", "mmmu", "scienceqa", "mathvista", "pope", "chartqa"]
BENCHMARKS += ["docvqa", "textvqa", "vizwiz", "vqav2"]
STUDY, TABLE1 = "paper.yaml", "table1.yaml"


def miniature(name):
    """A config with other numbers: of samples, steps, cells, questions and resamples."""
    study = yaml.safe_load((ROOT / "config" / name).read_text())
    study["data"]["stage1"] |= {"samples": 10}
    study["data"]["stage2"] |= {"samples": PLAIN + 14, "text_only": PLAIN // 2 + 3}
    del study["stage2"]["epochs"]
    study["stage2"] |= {"steps": 3, "batch_size": 64}
    if name == TABLE1:
        chosen = {"mlp": [16], "tokenpacker": [4], "prumerge": [4]}
        axes = {"llms": ["Vicuna-7B"], "seeds": [0]}
        study["grid"] = [
            {"methods": [method], "visual_tokens": counts, **axes}
            for method, counts in chosen.items()
        ]
        return study
    compressed, plain, *others = study["grid"]
    compressed |= {"llms": FITTED, "visual_tokens": [4], "seeds": [0]}
    plain |= {"llms": FITTED + HELD_OUT, "visual_tokens": [16], "seeds": [0]}
    for block in others:
        counts = [8] if block["methods"] == ["repeat"] else [4]
        block |= {"llms": FITTED[:1], "visual_tokens": counts, "seeds": [0]}
    study["evaluation"]["benchmarks"] = BENCHMARKS
    study["laws"]["bootstrap_draws"] = 40
    return study


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A checkout without results, but with these studies."""
    folder = tmp_path_factory.mktemp("paper")
    for name in COPIED:
        if name != "src":
            (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "src", folder / "src")
    for name in (STUDY, TABLE1):
        (folder / name).write_text(yaml.safe_dump(miniature(name)))
    return Tree(folder)


def killed_while_it_downloads(tree, server, environment):
    """Kill everything while the images of stage 1 arrive, as a machine that goes down does."""
    path = "/repositories/datasets/liuhaotian/LLaVA-Pretrain/images.zip"
    server.trouble[path] = lambda times: "stall" if times == 1 else None
    command = tree.command("--nolock", "results/paper/data/stage1", config=STUDY)
    child = subprocess.Popen(
        command,
        cwd=tree.path,
        env={**tree.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    part = tree.path / "work/downloads/llava_pretrain/images.zip.part"
    deadline = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
        assert child.poll() is None, "ended before it could be killed"
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tree.path / "results/paper/data/stage1").exists()


@pytest.fixture(scope="module")
def fetched(tree, tmp_path_factory):
    """What `snakemake data backbones` says, and what the hub was asked; by now its server is gone."""
    root = tmp_path_factory.mktemp("released")
    shapes = {}
    for name in (STUDY, TABLE1):
        shapes |= backbones(miniature(name), root / "repositories")
    with site(root, Hub) as server:
        resources(
            tree.path / "src/vlmscale/resources",
            shapes=shapes,
            files=training_data(root, server.url),
            questions=benchmarks(
                [*BENCHMARKS, "mme_perception", "pope_mean"], root / "repositories/datasets"
            ),
        )
        environment = {"HF_ENDPOINT": f"{server.url}/hub", "HF_HOME": str(tree.path / "hub")}
        killed_while_it_downloads(tree, server, environment)
        done = tree.snakemake("data", "backbones", config=STUDY, **environment)
        assert done.returncode == 0, done.stdout[-5000:]
        asked = list(server.requests)
        other = tree.snakemake("data", "backbones", config=TABLE1, **environment)
        assert other.returncode == 0, other.stdout[-5000:]
    shutil.rmtree(tree.path / "hub", ignore_errors=True)
    return done.stdout, asked


@pytest.fixture(scope="module")
def out(tree, fetched):
    """The results of the whole study. From here on there is no network."""
    data = tree.path / "results/paper/data"
    before = contents(data)
    done = tree.snakemake(config=STUDY, **OFFLINE)
    assert done.returncode == 0, done.stdout[-5000:]
    assert contents(data) == before  # read-only for what comes after
    return tree.path / "results/paper"


OFFLINE = dict.fromkeys(["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"], "1")
OFFLINE |= dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "HF_ENDPOINT"], "http://127.0.0.1:9")


def contents(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_estimates_come_first(fetched):
    said, _ = fetched
    for dataset in ("llava_pretrain", "llava_mix665k"):
        assert f"{dataset}: about 0 GB to download" in said.partition("localrule")[0]


def test_nothing_is_fetched_but_what_the_config_pins(tree, fetched):
    study = miniature(STUDY)
    paths = [path for _, path, _ in fetched[1]]
    for backbone in (study["tower"], *study["llms"].values()):
        mine = [path for path in paths if f"/{backbone['repository']}/" in path]
        assert {p.split("/")[-2] for p in mine if "/resolve/" in p} == {backbone["revision"]}
        assert not any(path.endswith((".py", ".md")) for path in mine)
    for backbone in ("tower", *study["llms"]):  # the tower was released as a pickle
        files = {file.name for file in (tree.path / "results/paper/backbones" / backbone).iterdir()}
        assert not any(name.endswith((".py", ".md", ".bin")) for name in files)
        assert any(name.endswith(".safetensors") for name in files)


def test_what_was_skipped_and_why(tree, fetched):
    data = tree.path / "results/paper/data"
    captions, mix = (
        json.loads((data / s / "manifest.json").read_text()) for s in ("stage1", "stage2")
    )
    assert (captions["records"], captions["rows"], captions["skipped"]) == (10, 10, [])
    assert mix["records"] == PLAIN + 14
    assert mix["rows"] == PLAIN + 13
    (lost,) = mix["skipped"]
    assert (lost["id"], lost["image"]) == ("gone", "ocr_vqa/images/gone.jpg")
    assert lost["reason"] == "missing"
    assert mix["repaired_images"]["GIF stored as PNG"] == 1
    assert mix["samples_by_source"]["text only"] == PLAIN // 2 + 3
    assert "ocr_vqa/ocr_vqa.zip" in mix["sources"]  # the second copy, for what the first lacks


def test_repeated_it_does_nothing(tree, out):
    assert tree.planned(config=STUDY) == {}


def test_every_cell_has_every_benchmark(tree, out):
    questions = pd.read_csv(
        tree.path / "src/vlmscale/resources/benchmarks.csv", index_col="benchmark"
    )
    errors = pd.read_parquet(out / "errors.parquet")
    cells = pd.read_csv(out / "cells.csv")
    assert len(cells) == 2 * 4 + 1 + 4
    for cell in cells["cell"]:
        scores = pd.read_parquet(out / f"cells/{cell}/scores.parquet").set_index("benchmark")
        samples = pd.read_parquet(out / f"cells/{cell}/samples.parquet")
        assert list(scores.index) == BENCHMARKS
        assert scores["score"].between(0, 1).all()
        assert scores["n"].eq(questions.loc[BENCHMARKS, "questions"]).all()
        assert samples["benchmark"].value_counts().to_dict() == scores["n"].to_dict()
        ruled = {"mmbench", "mmmu", "mathvista", "pope"}
        assert set(scores.index[scores["unparsed"].notna()]) == ruled
        assert scores["unparsed"].dropna().between(0, 1).all()
        # The error of a suite is the plain mean over its benchmarks.
        mine = errors[errors["cell"] == cell]
        for family, suite in scores.groupby("family"):
            mean = mine[(mine["benchmark"] == "mean") & (mine["family"] == family)]
            assert mean["error"].item() == pytest.approx(1 - suite["score"].mean())
    assert set(errors["family"]) == {"reasoning", "ocr", "other"}


def test_laws_of_both_suites_without_the_held_out_llm(out):
    laws = pd.read_parquet(out / "laws.parquet")
    series = ("tokenpacker", "quecc", "avgpool")
    expected = set(itertools.product(series, ("reasoning", "ocr")))
    assert set(zip(laws["series"], laws["family"], strict=True)) == expected
    assert laws["points"].eq(2 * 2).all()  # two LLMs at 4 and at all 16 tokens
    assert laws[["amplitude", "alpha", "beta", "floor"]].notna().all(axis=None)
    cells = pd.read_csv(out / "cells.csv").set_index("llm")["role"]
    assert cells[HELD_OUT].eq("holdout").all()
    assert cells.drop(HELD_OUT).eq("fit").all()
    verdicts = pd.read_parquet(out / "verdicts.parquet")
    assert len(verdicts) > 0
    for law in laws.itertuples():
        folder = out / f"figures/{law.series}_{law.family}"
        assert len(list(folder.iterdir())) == 2 * len(LAW_FIGURES)
    for table in ("laws", "forms", "variants", "methods", "paired", "suites", "difficulty"):
        assert read_markdown(out / f"tables/{table}.md").count("\n") > 2
    assert len(pd.read_parquet(out / "audit.parquet")) == 58


def test_trainings_followed_the_recipe(out):
    for run in pd.read_csv(out / "cells.csv")["run"]:
        stages = [
            json.loads((out / f"runs/{run}/{s}/run.json").read_text()) for s in ("stage1", "stage2")
        ]
        assert [stage["samples"] for stage in stages] == [10, PLAIN + 13]
        assert [stage["steps"] for stage in stages] == [1, 3]
        assert [stage["recipe"]["aspect"] for stage in stages] == ["crop", "pad"]
        assert [stage["recipe"]["order"] for stage in stages] == ["shuffled", "grouped"]
        assert {stage["recipe"]["precision"] for stage in stages} == {"bf16"}
        assert all(math.isfinite(loss) for stage in stages for _, loss in stage["losses"])
    with safe_open(out / f"runs/{run}/stage2/model/model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_results_say_what_made_them(out):
    cell = pd.read_csv(out / "cells.csv")["cell"].iloc[0]
    record = read_provenance(out / f"cells/{cell}/scores.parquet")
    assert record["cell"]["cell"] == cell
    assert record["protocol"] == "lmms"
    assert {"torch", "transformers", "lmms-eval"} <= set(record["versions"])
    for table in ("errors", "laws", "cost"):
        assert read_provenance(out / f"{table}.parquet")["versions"]
    cost = pd.read_parquet(out / "cost.parquet")
    assert len(cost) == 2 * (9 + 3)  # repeated tokens need no training
    assert (cost[["tokens", "predicted_flops", "hours"]] > 0).all(axis=None)


def test_table_1_by_the_protocol_of_llava(tree, fetched):
    """Another LLM, template and protocol; a method that needs no training; no law."""
    done = tree.snakemake(config=TABLE1, **OFFLINE)
    assert done.returncode == 0, done.stdout[-5000:]
    out = tree.path / "results/table1"
    cells = pd.read_csv(out / "cells.csv").set_index("cell")
    assert len(cells) == 3
    assert cells["run"].nunique() == 2
    asked = miniature(TABLE1)["evaluation"]["benchmarks"]
    for cell, run in cells["run"].items():
        scores = pd.read_parquet(out / f"cells/{cell}/scores.parquet")
        assert scores["benchmark"].tolist() == asked
        assert scores["score"].between(0, 1).all()
        assert read_provenance(out / f"cells/{cell}/scores.parquet")["protocol"] == "llava15"
        record = json.loads((out / f"runs/{run}/stage2/run.json").read_text())
        assert record["samples_without_loss"] == 1  # what is asked last is asked too late
    assert not (out / "laws.parquet").exists()
    assert len(pd.read_parquet(out / "cost.parquet")) == 2 * 2
