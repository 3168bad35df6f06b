# Read the study and plan its jobs; rules look them up here. What can be unit-tested lives in src/vlmscale.
import gc
import re
import sys
from dataclasses import asdict
from functools import partial
from inspect import signature
from pathlib import Path

from vlmscale.costs.cluster import constant_resources
from vlmscale.errors import UserError
from vlmscale.jobs.environment import check_checkout, check_interpreter, check_profile
from vlmscale.jobs.run_lock import hold_run
from vlmscale.planning import requests as needs
from vlmscale.planning.evaluations import ModelSpecs, request_model_evaluation
from vlmscale.planning.specs import (
    FIGURE_STACK,
    TRAINING_STACK,
    WITHOUT_EFFECT_ON_RESULTS,
    JobSpecs,
)
from vlmscale.planning.trainings import describe_samples
from vlmscale.report.figures import INPUTS as FIGURE_TABLES, LAW_FIGURES, name_family
from vlmscale.resources import find_resource, read_benchmark_rows, read_rows
from vlmscale.study.evaluated import EvaluatedStudy
from vlmscale.study.load import load_any_study, validate
from vlmscale.study.selection import (
    FEW_TOKENS,
    FULL,
    RELEASED_PROTOCOL,
    SUITES,
    Selection,
    group_budgets,
)

# A large plan has millions of objects and no garbage; collecting it would take longer than planning. `onstart`
# turns collection on again.
gc.disable()

# Where the workflow lies. Results go to the working directory, which may be another (`--directory`, `module`).
CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent


def table(name):
    """Return the path of a table of vlmscale.resources, relative if possible: moving a checkout reruns nothing."""
    path, here = find_resource(name), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read_study():
    """Return the study of --configfile, of --config study=FILE, or the default one.

    Its file is read anew: snakemake's own reader keeps the last of equal keys, and reads `1:30` as 90. There is no
    `configfile:`, which would merge a second study into the default one, key by key.
    """
    default = CHECKOUT / "config/mini.yaml"
    if workflow.modifier.parent_modifier is not None:  # of a workflow with this module
        return (
            validate(config, "`config` of the module")
            if config
            else load_any_study(default)
        )
    changes = dict(workflow.config_settings.config)
    files = list(workflow.configfiles)
    if not files and Path(str(changes.get("study"))).suffix in (
        ".yaml",
        ".yml",
        ".json",
    ):
        files = [changes.pop("study")]
    return load_any_study(*(files or [default]), changes=changes)


def find_profiles():
    """Return the files of the profiles that this snakemake call names."""
    from snakemake.cli import get_argument_parser, get_profile_dir

    typed = get_argument_parser().parse_known_args(sys.argv[1:])[0].profile or []
    return [found[1] for name in typed if (found := get_profile_dir(name))]


try:
    check_interpreter(sys.executable)
    check_checkout(CHECKOUT)
    for profile in find_profiles():
        check_profile(profile)
    STUDY = read_study()
    IS_TRAINED = not isinstance(STUDY, EvaluatedStudy)
    SPECS = (JobSpecs if IS_TRAINED else ModelSpecs)(
        STUDY, scripts=CHECKOUT / "workflow/scripts"
    )
    BENCHMARKS = read_benchmark_rows()
    QUESTIONS = sum(STUDY.count_questions().values())  # of a cell
    REQUESTS = needs.request_trainings(STUDY, SPECS.runs.values())
except UserError as error:
    sys.exit(f"error: {error}")

if workflow.is_main_process and hold_run(Path(".snakemake")):
    print(
        "A run in this folder is under way. If none is, on any machine: make unlock (or snakemake --unlock), then the "
        "same command again.",
        file=sys.stderr,
    )
OUT, WORK = SPECS.out, SPECS.work
PUBLISHED = "results/published"  # from the paper's released scores
CELLS, RUNS, LAWS, TRAININGS = SPECS.cells, SPECS.runs, SPECS.laws, SPECS.trainings
# folder -> (split, seed)
SAMPLES = (
    STUDY.list_samples({run.seed for run in RUNS.values()})
    if IS_TRAINED
    else {"test": ("test", 0)}
)
TOWER = asdict(STUDY.tower_shape) if IS_TRAINED else None
hash_code = SPECS.hash_code


def one_of(names):
    """Return the pattern of a wildcard that is one of `names`, with dots escaped."""
    return "|".join(map(re.escape, names))


def with_cached_signature(function):
    """Snakemake inspects each function's signature several times per job; cache it."""
    function.__signature__ = signature(function)
    return function


def per(wildcard, function, *arguments):
    """Make an input or params function that calls `function` with `arguments` and the value of a wildcard."""
    return with_cached_signature(
        lambda wildcards: function(*arguments, getattr(wildcards, wildcard))
    )


def resources_of(requests, key):
    """Return the resources of a rule whose jobs request requests[key(wildcards)].

    They are functions only where jobs or attempts differ: snakemake takes ten times longer for a function.
    """

    def resource_of(name):
        return with_cached_signature(
            lambda wildcards, attempt: requests[key(wildcards)].resources(attempt)[name]
        )

    names = next(iter(requests.values())).resources(attempt=1)
    return {name: resource_of(name) for name in names} | constant_resources(
        requests.values()
    )


# The files of all cells, as functions: snakemake would read lists again in every job of a cluster.


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
    """Return the cells of each law in the form of a param."""
    return {name: asdict(selection) for name, selection in series.items()}
