"""The workflow without training: every config plans, the linter agrees, the published numbers fit."""

import re
from collections import Counter

import pandas as pd
import pytest
import yaml

from tests.support import studies
from tests.support.paths import ROOT
from tests.support.trees import Tree
from vlmscale.planning.trainings import describe_samples
from vlmscale.records.texts import read_markdown
from vlmscale.report.figures import LAW_FIGURES
from vlmscale.study.grid import expand_grid, list_laws
from vlmscale.study.load import load_study

TRAINED = [str(path.relative_to(ROOT)) for path in studies.TRAINED]

# Jobs of the paper's studies, counted by hand from their grids.
ONCE = dict.fromkeys(
    (
        *("all", "audit", "collect", "compare", "cost", "cost_figure", "fetch_benchmarks"),
        *("gallery", "model_cards", "one_token", "one_token_figure"),
        *("paired_figure", "report_pages", "tables", "verdicts", "write_cells"),
    ),
    1,
)
# With laws, and released ones to draw beside them.
LAWS_ONCE = dict.fromkeys(
    (
        *("difficulty", "difficulty_figure", "explorer", "fit"),
        *("published_errors", "published_fit", "side_by_side_figure"),
    ),
    1,
)
COUNTS = {
    # Five LLMs and three seeds: three methods at six counts, and all patches. Of the largest fitted LLM two
    # kinds of QueCC at two counts, and smaller images. Of four LLMs three repetitions, without trainings.
    # Three laws, two families.
    "config/paper.yaml": {
        **ONCE,
        **LAWS_ONCE,
        "fetch_backbone": 5 + 1,
        "prepare_dataset": 2,
        "train_stage1": 3 * (5 * (3 * 6 + 1) + 2 * 2 + 1),
        "train_stage2": 3 * (5 * (3 * 6 + 1) + 2 * 2 + 1),
        "evaluate_cell": 3 * (5 * (3 * 6 + 1) + 2 * 2 + 1 + 4 * 3),
        "figures": 3 * 2,
    },
    # The paper's three methods and all patches, on five other LLMs and another tower.
    "config/modern.yaml": {
        **ONCE,
        **LAWS_ONCE,
        "fetch_backbone": 5 + 1,
        "prepare_dataset": 2,
        "train_stage1": 3 * 5 * (3 * 6 + 1),
        "train_stage2": 3 * 5 * (3 * 6 + 1),
        "evaluate_cell": 3 * 5 * (3 * 6 + 1),
        "figures": 3 * 2,
    },
    # Three seeds. Trainings of mlp, prumerge_trained, three methods at four counts, m3, mqt (whose second
    # budget shares stage 1), quecc_last, blind; cells of three more that run on mlp's, of m3 at two counts and
    # of mqt at four, twice.
    "config/table1.yaml": {
        **ONCE,
        "learning_figure": 1,
        "fetch_backbone": 1 + 1,
        "prepare_dataset": 2,
        "train_stage1": 3 * (1 + 1 + 3 * 4 + 1 + 1 + 1 + 1),
        "train_stage2": 3 * (1 + 1 + 3 * 4 + 1 + 2 + 1 + 1),
        "evaluate_cell": 3 * (1 + 1 + 3 * 4 + 3 + 2 + 2 * 4 + 1 + 1),
    },
    # Three seeds. Trainings of mlp, five methods at two counts, perceiver at three, blind, m3, mqt; cells of
    # m3 and mqt at two counts, and of ten methods at three that run on mlp's.
    "config/one-token.yaml": {
        **ONCE,
        "fetch_backbone": 1 + 1,
        "prepare_dataset": 2,
        "train_stage1": 3 * (1 + 5 * 2 + 3 + 1 + 1 + 1),
        "train_stage2": 3 * (1 + 5 * 2 + 3 + 1 + 1 + 1),
        "evaluate_cell": 3 * (1 + 5 * 2 + 3 + 1 + 2 + 2 + 10 * 3),
    },
    # Four methods at one count each; features are stored. Nothing of it is fetched to plan it.
    "config/real.yaml": {
        **ONCE,
        "fetch_backbone": 1 + 1,
        "prepare_dataset": 2,
        "encode_images": 2,
        "train_stage1": 4,
        "train_stage2": 4,
        "evaluate_cell": 4,
    },
}


def test_dry_run_of_released_vlms(empty):
    """17 models: six at five budgets, eleven at four; five laws of two families of benchmarks; no training."""
    jobs = empty.planned(config="config/released-vlms.yaml")
    once = ("all", "collect_vlms", "explorer", "fetch_benchmarks", "fit", "gallery")
    assert {rule: len(planned) for rule, planned in jobs.items()} == {
        **dict.fromkeys((*once, "report_pages", "tables", "write_cells"), 1),
        "fetch_vlm": 17,
        "evaluate_vlm": 6 * 5 + 11 * 4,
        "figures": 5 * 2,
    }


@pytest.mark.parametrize("config", TRAINED)
def test_dry_run(config, empty):
    """In a checkout without results every cell of every config is planned."""
    jobs = empty.planned(config=config)
    if config in COUNTS:
        assert {rule: len(planned) for rule, planned in jobs.items()} == COUNTS[config]
    assert jobs["all"] == [""]
    assert len(jobs["evaluate_cell"]) >= len(jobs["train_stage2"]) > 0
    # Stage 1 once for all budgets of a run.
    budgets = "|".join(yaml.safe_load((ROOT / config).read_text()).get("budgets", {}))
    shared = {re.sub(f"__({budgets})$", "", run) for run in jobs["train_stage2"]}
    assert sorted(jobs["train_stage1"]) == sorted(shared)
    # Backbones and data are made from a world, or all of them are fetched.
    study = yaml.safe_load((ROOT / config).read_text())
    made = {"generate_split", "train_tokenizer", "train_tower", "train_llm"}
    if "world" in study:
        assert made <= set(jobs)
        assert not {"fetch_backbone", "fetch_benchmarks", "prepare_dataset"} & set(jobs)
    else:
        assert not made & set(jobs)
        fetched = {f"backbone={name}" for name in ("tower", *study["llms"])}
        assert set(jobs["fetch_backbone"]) == fetched
        assert sorted(jobs["prepare_dataset"]) == ["stage=stage1", "stage=stage2"]
        assert len(jobs["fetch_benchmarks"]) == 1


def test_dry_run_with_budgets(empty):
    """Budgets add trainings of stage 2 and laws; stage 1 is planned once for all that share it."""
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    raw["study"], raw["budgets"] = "budgets", {"short": {"steps": 100}}
    raw["grid"] = [{**block, "budgets": ["full", "short"]} for block in raw["grid"][:2]]
    # of these no run has the full budget
    raw["grid"].append({**raw["grid"][1], "methods": ["m3"], "budgets": ["short"]})
    raw["laws"]["series"] = {"packed": ["tokenpacker", "mlp"]}
    (empty.path / "study.yaml").write_text(yaml.safe_dump(raw))
    jobs = empty.planned(config="study.yaml")
    runs = set(jobs["train_stage2"])
    assert len(runs) == 2 * 14 + 2
    assert {"run=d64__mlp__v36__s0", "run=d64__mlp__v36__s0__short"} < runs
    shared = [run.removesuffix("__short") for run in runs]
    assert len(jobs["train_stage1"]) == 14 + 2
    assert set(jobs["train_stage1"]) == set(shared)
    assert len(jobs["evaluate_cell"]) == len(runs)
    assert sorted(jobs["figures"]) == [
        f"series={law}, family={family}"
        for law in ("packed", "packed_short")
        for family in ("ocr", "reasoning")
    ]
    for rule in ("budget_law", "budget_law_figure", "learning_figure"):
        assert jobs[rule] == [""]


@pytest.mark.parametrize("config", TRAINED)
def test_only_laws_of_several_budgets_have_a_law_of_budgets(config, empty):
    """One law of N, V and budget, and its figure, add no training and no evaluation; other studies have none."""
    study = load_study(ROOT / config)
    cells, runs = expand_grid(study)
    laws = list_laws(study, cells.values())
    samples = describe_samples(study, {law.budget for law in laws.values()})["by_budget"]
    several = len(set(samples.values())) > 1
    known = {"mini": True, "mini-full": True, "smoke": False, "paper": False, "table1": False}
    assert several == known.get(study.study, several)
    jobs = empty.planned(config=config)
    assert ("budget_law" in jobs) == ("budget_law_figure" in jobs) == several
    assert len(jobs["evaluate_cell"]) == len(cells)
    assert len(jobs["train_stage2"]) == len(runs)


def test_how_a_stage_is_carried_out_reaches_its_jobs_as_resources(empty):
    raw = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    raw["stage1"]["execution"] = {"zero": 2, "activation_checkpointing": True}
    raw["stage2"]["execution"] = {
        "zero": 3,
        "micro_batch_size": 8,
        "activation_checkpointing": "auto",
    }
    (empty.path / "study.yaml").write_text(yaml.safe_dump(raw))
    target = "results/smoke/runs/d32__mlp__v36__s0/stage2/run.json"
    more = ("--set-resources", "train_stage2:gpus=2", "train_stage2:micro_batch_size=4")
    done = empty.snakemake("-n", target, *more, config="study.yaml")
    jobs = re.findall(r"^rule train_stage.:\n(?:    .*\n)*    resources: (.*)", done.stdout, re.M)
    first, second = (set(job.split(", ")) for job in jobs)
    assert {"zero=2", "activation_checkpointing=1"} < first
    assert {"zero=3", "micro_batch_size=4", "gpus=2", "activation_checkpointing=0"} < second


def test_trainings_that_no_gpu_can_hold_are_refused_before_anything_starts(empty):
    raw = yaml.safe_load((ROOT / "config/table1.yaml").read_text())
    raw["stage2"]["execution"]["micro_batch_size"] = 16
    (empty.path / "study.yaml").write_text(yaml.safe_dump(raw))
    done = empty.snakemake("-n", config="study.yaml")
    assert done.returncode != 0
    assert "Vicuna-7B__m3__v576__s0, stage2: needs" in done.stdout
    assert "What would fit: micro_batch_size: 8 on 16 GPUs; or" in done.stdout
    assert "Traceback" not in done.stdout


KINDS = {".parquet", ".md", ".tex", ".html", ".pdf", ".png"}


def test_lint():
    done = Tree(ROOT).snakemake("--lint", config="config/smoke.yaml")
    assert "Congratulations, your workflow is in a good condition!" in done.stdout, done.stdout


def test_published_numbers(empty):
    out, contents = empty.path / "results/published", []
    for _ in range(2):
        done = empty.snakemake("published", "--forceall", config=None)
        assert done.returncode == 0, done.stdout
        results = [file for file in out.rglob("*") if file.suffix in KINDS and file.is_file()]
        contents.append({file: file.read_bytes() for file in results})
    assert contents[0] == contents[1]
    made = Counter(file.suffix for file in contents[0])
    figures = 2 * len(LAW_FIGURES) + 2
    assert made == {
        ".parquet": 12,
        ".md": 6,
        ".tex": 5,
        ".html": 7,
        ".pdf": figures,
        ".png": figures,
    }
    assert read_markdown(out / "audit.md") == (ROOT / "docs/audit.md").read_text()
    audit = pd.read_parquet(out / "audit.parquet")
    assert len(audit) == 58
    laws = pd.read_parquet(out / "laws.parquet").set_index("family")
    law = laws.loc["reasoning"]
    found = (law["amplitude"], law["alpha"], law["beta"], law["sse"])
    assert found == pytest.approx((0.5908, 0.07094, 0.01510, 3.794e-4), rel=3e-4)
    assert (law["floor"], law["floor_bound"]) == (0, "lower")
    frontier = pd.read_parquet(out / "frontier.parquet")
    sizes = frontier.groupby(["family", "text_tokens"]).size()
    assert (sizes["reasoning", 0], sizes["reasoning", 50]) == (10, 20)
