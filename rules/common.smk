# The study, its cells and runs, and small look-ups. Anything that can be tested lives in src/vlmscale.
import gc
import re
import sys
from dataclasses import asdict
from functools import cache
from inspect import signature
from pathlib import Path

from vlmscale.costs import cluster
from vlmscale.planning import requests as needs
from vlmscale.study.grid import expand as expand_cells, law_series, stage1_trainings
from vlmscale.study.load import load_study, validate
from vlmscale.errors import UserError
from vlmscale.jobs.failures import failure_report
from vlmscale.report.figures import LAW_FIGURES
from vlmscale.jobs.fingerprint import fingerprint
from vlmscale.planning.trainings import benchmark_rows
from vlmscale.study.selection import FULL, RELEASED_PROTOCOL, SUITES, Selection
from vlmscale.jobs.slurm import comment, end_left_behind

# A large plan is millions of objects, all of which stay: no use to look for garbage among them, again and again.
# `onstart` looks again.
gc.disable()

DEFAULT_STUDY = "config/mini.yaml"
BENCHMARKS = benchmark_rows(Path("src/vlmscale/resources/benchmarks.csv"))


# Of a study, what decides how it is carried out, or what else is measured, and nothing of its results.
CARRIED_OUT = {
    "cluster": True,
    "latency": True,
    "stage1": {"execution"},
    "stage2": {"execution"},
}

# Not `configfile:`, which would merge a second study into the default one, key by key.
try:
    if config:
        STUDY = validate(
            config, " + ".join(map(str, workflow.configfiles)) or "--config"
        )
    else:
        STUDY = load_study(Path(DEFAULT_STUDY))
    CELLS, RUNS = expand_cells(STUDY)
    LAWS = law_series(STUDY, CELLS.values())
    QUESTIONS = sum(STUDY.count_questions(BENCHMARKS).values())  # of a cell
    TRAININGS = {"stage1": stage1_trainings(RUNS.values()), "stage2": RUNS}
    REQUESTS = {
        kind: {name: needs.of_training(STUDY, kind, run) for name, run in runs.items()}
        for kind, runs in TRAININGS.items()
    }
    needs.check_memory(STUDY, RUNS)
except UserError as error:
    sys.exit(f"error: {error}")

OUT = f"results/{STUDY.study}"
WORK = f"work/{STUDY.study}"
PUBLISHED = "results/published"  # what the paper's released scores give
# Folder -> (split, seed of the sample).
SAMPLES = STUDY.samples({run.seed for run in RUNS.values()})
TRAINING_STACK = ("torch", "transformers", "accelerate", "tokenizers")
EVALUATION_STACK = (*TRAINING_STACK, "lmms-eval")


SCRIPTS = Path("workflow/scripts")


def one_of(names):
    """The pattern of a wildcard that is one of `names`, dots and all."""
    return "|".join(map(re.escape, names))


def code_of(script, *modules, packages=("numpy", "pandas", "pyarrow", "scipy")):
    """Fingerprint of a rule's script, of `modules` it reaches otherwise, and of `packages`."""
    return fingerprint(modules, scripts=[SCRIPTS / script], packages=packages)


def projector_module(name):
    """The module of the method that the study calls `name`."""
    return f"vlmscale.models.projectors.{STUDY.variant(name).method.name}"


def known(function):
    """Its signature at hand: snakemake asks for it several times for every job."""
    function.__signature__ = signature(function)
    return function


@cache  # asked for by every job
def training_fingerprint(method):
    return code_of(
        "train_stage.py",
        "vlmscale.training.stages",
        projector_module(method),
        packages=TRAINING_STACK,
    )


def evaluation_fingerprint(cell):
    methods = {CELLS[cell].method, RUNS[CELLS[cell].run].method}
    return fingerprint_of_evaluating(frozenset(map(projector_module, methods)))


@cache
def fingerprint_of_evaluating(modules):
    tasks = Path("src/vlmscale/evaluation/tasks")
    return fingerprint(
        ["vlmscale.evaluation.run", *modules],
        scripts=[SCRIPTS / "evaluate_cell.py", *tasks.glob("*.py")],
        files=tasks.rglob("*.yaml"),
        packages=EVALUATION_STACK,
    )


@cache
def backbone_fingerprint():
    return code_of(
        "train_backbone.py", "vlmscale.training.backbones", packages=TRAINING_STACK
    )


def setting(served):
    """What the projector of a run or a cell is built for."""
    return STUDY.variant(served.method).make_setting(served.visual_tokens).model_dump()


def features_of(sample, name):
    """The stored tower features of a sample; nothing for a study or a method that does without."""
    sees_pixels = "pixels" in STUDY.variant(name).method.needs
    return f"{OUT}/vision/{sample}" if STUDY.vision_cache and not sees_pixels else []


@cache  # asked for by every job
def recipe_of(kind, budget):
    """What a stage of a run is trained by."""
    return STUDY.recipe(kind, budget).model_dump(mode="json", exclude={"execution"})


def stage_spec(kind):
    """What decides the result of a stage of a run, and nothing else: only this reruns it."""

    @known
    def spec(wildcards):
        run = TRAININGS[kind][wildcards.run]
        return {
            "kind": kind,
            "run": wildcards.run,
            **setting(run),
            "seed": run.seed,
            "template": STUDY.template,
            "feature_layers": list(STUDY.tower.feature_layers),
            "recipe": recipe_of(kind, run.budget),
            "fingerprint": training_fingerprint(run.method),
        }

    return spec


def execution(kind):
    """How a stage is carried out, as resources: a change of one reruns nothing."""
    recipe = STUDY.stage1 if kind == "stage1" else STUDY.stage2
    chosen = recipe.execution.model_dump(exclude_defaults=True)
    return {name: int(value) for name, value in chosen.items()}


@known
def evaluation_spec(wildcards):
    """What decides the answers of a cell, and nothing else: only this asks again."""
    cell = CELLS[wildcards.cell]
    return {
        "cell": asdict(cell),
        "trained": setting(RUNS[cell.run]),
        "evaluated": setting(cell),
        "protocol": STUDY.evaluation.protocol,
        "batch_size": STUDY.evaluation.batch_size,
        "fingerprint": evaluation_fingerprint(cell.cell),
    }


def latency_spec(wildcards):
    """What is timed of an LLM: every compressor and token count that a cell sees it with, once."""
    seen = {
        (cell.method, cell.visual_tokens): cell
        for cell in CELLS.values()
        if cell.llm == wildcards.llm
    }
    return {
        "name": wildcards.llm,
        "compressors": [
            {"name": cell.method, **setting(cell)} for cell in seen.values()
        ],
        "text_tokens": list(STUDY.laws.text_tokens),
        "feature_layers": list(STUDY.tower.feature_layers),
        "template": STUDY.template,
        "precision": STUDY.stage2.precision,
        "fingerprint": code_of(
            "measure_latency.py",
            "vlmscale.latency.measure",
            *sorted({projector_module(method) for method, _ in seen}),
            packages=TRAINING_STACK,
        ),
    }


def trained_on(kind):
    """What a stage of a run is trained on, by name."""

    @known
    def inputs(wildcards):
        run = TRAININGS[kind][wildcards.run]
        sample, _ = STUDY.training_sample(kind, run.seed)
        found = {
            "data": f"{OUT}/data/{sample}",
            "features": features_of(sample, run.method),
            "llm": f"{OUT}/backbones/{run.llm}",
        }
        if kind == "stage2":
            found["projector"] = f"{OUT}/runs/{run.stage1}/stage1/projector.safetensors"
        return found

    return inputs


@known
def evaluated_on(wildcards):
    """The model of a cell and what it sees, by name."""
    cell = CELLS[wildcards.cell]
    return {
        "model": f"{OUT}/runs/{cell.run}/stage2/model",
        "features": features_of("test", cell.method),
    }


def work_of(kind, name):
    """Where a stage of a run keeps its checkpoints; `name` is the id of the training."""
    code = training_fingerprint(TRAININGS[kind][name].method)
    return f"{WORK}/{name}/{kind}/{code}"


def checkpoints(kind):
    """Where a stage of a run keeps its checkpoints."""
    return known(lambda w: work_of(kind, w.run))


def records_of_work():
    """{where a training keeps its checkpoints: what it writes when it has ended}."""
    backbones = {
        f"{WORK}/{name}/{backbone_fingerprint()}": f"{OUT}/backbones/{name}.json"
        for name in ("tower", *STUDY.llms)
    }
    return backbones | {
        work_of(kind, name): f"{OUT}/runs/{name}/{kind}/run.json"
        for kind, runs in TRAININGS.items()
        for name in runs
    }


def resources_of(requests, key):
    """The resources of a rule: requests[key(wildcards)] is what a job asks for.

    Functions only where jobs or attempts differ: snakemake takes ten times as long for one as for a value.
    """

    def resource(name):
        @known
        def value(wildcards, attempt):
            return requests[key(wildcards)].resources(attempt)[name]

        return value

    functions = {name: resource(name) for name in cluster.RESOURCES}
    return functions | cluster.agreed(requests.values())


# The files of all cells. Functions, since a list would be read by every snakemake, that of each cluster job, too.


def stage1_files(wildcards):
    return expand(
        f"{OUT}/runs/{{run}}/stage1/{{file}}",
        run=TRAININGS["stage1"],
        file=["projector.safetensors", "run.json"],
    )


def stage2_files(wildcards):
    return expand(
        f"{OUT}/runs/{{run}}/stage2/{{file}}", run=RUNS, file=["model", "run.json"]
    )


def evaluation_files(wildcards):
    return expand(
        f"{OUT}/cells/{{cell}}/{{table}}.parquet",
        cell=CELLS,
        table=["samples", "scores"],
    )


def selections(series):
    """The cells of each law, as scripts are given them."""
    return {name: asdict(selection) for name, selection in series.items()}


def figure_files(folder, category, labels):
    """PDF and PNG of every figure of a law, the latter for the report with its own caption."""

    def bitmap(name):
        return report(
            f"{folder}/{name}.png",
            caption=f"../workflow/report/{name}.rst",
            category=category,
            labels={**labels, "figure": name},
        )

    return [
        *(f"{folder}/{name}.pdf" for name in LAW_FIGURES),
        *(bitmap(name) for name in LAW_FIGURES),
    ]


def this_command():
    """How this study is run, without targets: what it takes to run one of its jobs again."""
    from snakemake.cli import get_argument_parser

    typed = get_argument_parser().parse_args(sys.argv[1:])
    return [
        "snakemake",
        *(word for profile in typed.profile or [] for word in ("--profile", profile)),
        *(["--configfile", *map(str, typed.configfile)] if typed.configfile else []),
        *(["--config", *typed.config] if typed.config else []),
        *([] if typed.profile else ["--cores", str(typed.cores or 1)]),
        "--",
    ]
