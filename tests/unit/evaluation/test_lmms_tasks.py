"""lmms-eval's own command line evaluates the project's models on its tasks, by name."""

import json
import os
import subprocess
import sys

import pytest

from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.run import score_benchmark
from vlmscale.evaluation.spec import read_benchmarks
from vlmscale.training.stages import save_checkpoint


def run(*arguments, cwd, **environment):
    """A command that finds no network, as environments of tests may have none."""
    offline = {"HF_HUB_OFFLINE": "1", "HTTPS_PROXY": "http://127.0.0.1:9", **environment}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **offline}, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_command_line_of_lmms_eval_scores_named_tasks(build, splits, tmp_path):
    save_checkpoint(*build("tokenpacker", 4), tmp_path / "model")
    tasks = tmp_path / "tasks"
    named = run(
        "vlmscale.evaluation.lmms_tasks", splits["test"], tasks, "exist", "char", cwd=tmp_path
    )
    assert named.stdout.split() == ["vlmscale_exist", "vlmscale_char"], named.stderr
    options = {
        "model": "vlmscale",
        "model_args": f"pretrained={tmp_path}/model,device=cpu",
        "include_path": ".",
        "tasks": "vlmscale_exist,vlmscale_char",
        "batch_size": 8,
        "output_path": "out",
    }
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
    evaluated = run("lmms_eval", *arguments, cwd=tasks)
    (file,) = tasks.glob("out/**/*_results.json")
    results = json.loads(file.read_text())["results"]
    benchmarks = read_benchmarks(["exist", "char"])
    files = find_question_files(benchmarks, splits["test"])
    for benchmark in benchmarks:
        name, model = benchmark.benchmark, VlmScale(tmp_path / "model", 8, device="cpu")
        row = score_benchmark(model, benchmark, files[name], "lmms", 8)[1]
        score = results[f"vlmscale_{name}"]["exact_match,none"]
        assert score == pytest.approx(row["score"]), evaluated.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["exists"], "has no benchmark exists. It has exist, attr"),
        (["mme"], "MME/data has no manifest.json"),
    ],
)
def test_what_cannot_be_named_is_refused(splits, tmp_path, names, words):
    named = run(
        "vlmscale.evaluation.lmms_tasks", splits["test"], tmp_path / "tasks", *names, cwd=tmp_path
    )
    assert named.returncode == 1
    assert words in named.stderr
    assert named.stderr.count("\n") == 1
