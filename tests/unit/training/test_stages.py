"""Training resumes with the same weights, is reproducible, and trains what each stage should."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.support.drills import SAME
from tests.support.trainings import STEPS, last_complete, last_step, weights
from vlmscale.errors import UserError
from vlmscale.models.checkpoint import load
from vlmscale.settings import Execution, Recipe
from vlmscale.training.backbones import train_llm
from vlmscale.training.checkpoint_folder import lock_folder, remove_leftovers
from vlmscale.training.launch import launch, prepare
from vlmscale.training.loop import choose_deterministic, optimise
from vlmscale.training.spec import LlmSpec, Paths
from vlmscale.training.stages import train_stage

pytestmark = pytest.mark.slow


def test_resumes_after_a_kill_with_the_same_weights(spec, tmp_path, cost_of):
    cost = cost_of("a training is killed: SIGKILL, memory full, a power cut")
    whole, killed = spec("whole"), spec("killed")
    train_stage(whole)
    with (tmp_path / "shown").open("w") as shown:
        child = subprocess.Popen(prepare(killed), stdout=subprocess.DEVNULL, stderr=shown)
    deadline = time.monotonic() + 120
    while not last_complete(killed.paths.work) and time.monotonic() < deadline:
        time.sleep(0.01)
        assert child.poll() is None, "ended before it could be killed"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    step = last_complete(killed.paths.work)
    assert 0 < step < STEPS
    reached = last_step((tmp_path / "shown").read_text(), STEPS)
    cost.lose(max(reached - step, 0), "steps, of 4 between checkpoints", at_most=4)
    assert not killed.output.exists()
    assert not killed.record.exists()
    attempts = killed.paths.work / "attempts.json"
    (first,) = json.loads(attempts.read_text())["attempts"]
    assert first["gpus"] == 0
    on_gpus = {**first, "seconds": 900, "gpus": 4}  # what it would have left there
    attempts.write_text(json.dumps({"attempts": [on_gpus]}))
    cost.run(SAME, launch, killed)
    assert weights(killed) == weights(whole)
    record = json.loads(killed.record.read_text())
    assert (record["attempts"], record["gpu_hours"]) == (2, 1.0)  # the second had none
    assert record["seconds"] > 900
    assert record["tokens"] > first["tokens"]
    assert record["steps"] == STEPS
    assert not killed.paths.work.exists()


def test_removes_checkpoints_that_no_training_resumes_from(tmp_path):
    root = tmp_path / "work"
    resumable, finished, other, busy = (root / name / "stage2" / "f00" for name in "abcd")
    for folder in (resumable, finished, other, busy):
        folder.mkdir(parents=True)
        (folder / "identity.json").touch()
        (folder / "checkpoint-4").mkdir()
    records = {resumable: tmp_path / "a.json", finished: tmp_path / "b.json"}
    records[finished].touch()
    with lock_folder(busy):
        assert remove_leftovers(root, records) == [finished, other]
    assert (resumable / "checkpoint-4").exists()
    assert (busy / "checkpoint-4").exists()
    assert not finished.exists()
    assert not other.exists()


def test_resumes_after_a_kill_between_last_step_and_result(spec, monkeypatch, cost_of):
    """The weights come from the last checkpoint; no step is added."""
    cost = cost_of("a training is killed while it writes its result")
    whole, killed = spec("whole"), spec("killed")
    train_stage(whole)
    with monkeypatch.context() as patched:
        patched.setattr("vlmscale.training.stages.save_checkpoint", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_stage(killed)
    cost.lose(STEPS - last_complete(killed.paths.work), "steps")
    cost.run(SAME, train_stage, killed)
    assert weights(killed) == weights(whole)
    assert json.loads(killed.record.read_text())["steps"] == STEPS


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_refuses_a_second_process_in_the_same_folder(tmp_path):
    with lock_folder(tmp_path), pytest.raises(UserError, match="another process is training"):
        lock_folder(tmp_path)
    with lock_folder(tmp_path):
        pass


def test_weights_depend_on_the_seed_alone(spec):
    runs = [spec("a"), spec("b"), spec("c", seed=4)]
    for run in runs:
        train_stage(run)
    assert weights(runs[0]) == weights(runs[1])
    assert weights(runs[0]) != weights(runs[2])


@pytest.mark.parametrize("kind", ["stage1", "stage2"])
@pytest.mark.parametrize("name", ["tokenpacker", "quecc"])
def test_each_stage_trains_its_own_modules(spec, backbones, tmp_path, name, kind):
    projector = tmp_path / "stage1.safetensors"
    first = spec("one", kind="stage1", method=name, output=projector)
    train_stage(first)
    record = json.loads(first.record.read_text())
    assert record["trained_parameters"] == record["projector_parameters"]
    assert len(record["losses"]) > 5
    assert record["tokens_per_second"] > 0
    if kind == "stage1":
        return
    second = spec("two", method=name, projector=projector)
    train_stage(second)
    model, _ = load(second.output)
    before_llm = load_file(backbones["llm"] / "model.safetensors")
    before_tower = load_file(backbones["tower"] / "model.safetensors")
    tower = model.model.vision_tower.state_dict()
    assert all(torch.equal(value, tower[key]) for key, value in before_tower.items())
    llm = model.model.language_model.state_dict()
    moved = [k for k, v in before_llm.items() if not torch.equal(v, llm[k.removeprefix("model.")])]
    assert len(moved) == len(before_llm)
    stage1 = load_file(projector)
    after = model.model.multi_modal_projector.state_dict()
    assert any(not torch.equal(stage1[key], after[key]) for key in stage1)
    record = json.loads(second.record.read_text())
    total = sum(p.numel() for p in model.model.language_model.parameters())
    assert record["llm_parameters"] == total  # the head is tied to the embedding
    assert record["trained_parameters"] == total + record["projector_parameters"]


def test_adam_beta2_is_the_recipes(spec):
    recipe = {"steps": 4, "batch_size": 4, "learning_rate": 1e-3}
    runs = [
        spec(name, recipe={**recipe, **beta})
        for name, beta in {"a": {}, "b": {"adam_beta2": 0.999}, "c": {"adam_beta2": 0.9}}.items()
    ]
    for run in runs:
        train_stage(run)
    assert weights(runs[0]) == weights(runs[1])
    assert weights(runs[0]) != weights(runs[2])


@pytest.mark.parametrize(("chosen", "expected"), [(None, True), (True, True), (False, False)])
def test_deterministic_algorithms_are_on_unless_switched_off(spec, chosen, expected):
    recipe = {"steps": 1, "batch_size": 4, "learning_rate": 1e-3}
    made = spec("x", recipe=recipe, execution={"deterministic": chosen})
    train_stage(made)
    assert torch.are_deterministic_algorithms_enabled() == expected
    record = json.loads(made.record.read_text())
    assert (record["deterministic"], record["execution"]["deterministic"]) == (expected, chosen)


@pytest.mark.parametrize(("chosen", "expected"), [(None, False), (True, True), (False, False)])
def test_deterministic_algorithms_are_off_on_gpus_unless_asked_for(monkeypatch, chosen, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_deterministic(Execution(deterministic=chosen)) == expected


@pytest.mark.parametrize("width", [16, 64])
def test_a_tiny_llm_starts_from_weights_that_fit_its_width(backbones, splits, tmp_path, width):
    recipe = {"steps": 1, "batch_size": 4, "learning_rate": 1e-9, "turns": "apart"}
    shape = {"hidden_size": width, "layers": 1, "heads": 2, "intermediate_size": 32}
    train_llm(
        LlmSpec(
            kind="llm",
            shape={**shape, "recipe": recipe},
            template="qa",
            seed=0,
            tokenizer=backbones["llm"],
            data=splits["corpus"],
            output=tmp_path / "llm",
            record=tmp_path / "llm.json",
            paths={"work": tmp_path / "work", "tensorboard": tmp_path / "tb"},
        )
    )
    weight = load_file(tmp_path / "llm" / "model.safetensors")["model.embed_tokens.weight"]
    assert weight.std().item() == pytest.approx(width**-0.5, rel=0.1)


def test_a_loss_that_is_not_finite_names_step_and_samples(tmp_path):
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            return {"loss": self.weight * x.sum() * float("nan")}

    data = [{"id": f"s{i}", "x": 1.0} for i in range(4)]

    def collate(samples, rng):
        return {
            "x": torch.tensor([s["x"] for s in samples]),
            "sample_ids": [s["id"] for s in samples],
            "tokens": len(samples),
        }

    recipe = Recipe(steps=2, batch_size=4, learning_rate=0.1)
    paths = Paths(work=tmp_path, tensorboard=tmp_path)
    with pytest.raises(UserError, match="loss is nan at step 0") as caught:
        optimise(Broken(), data, collate, recipe, seed=0, paths=paths)
    assert all(f"s{i}" in str(caught.value) for i in range(4))


def test_refuses_a_max_length_without_room_for_text(spec):
    recipe = {"steps": 1, "batch_size": 4, "learning_rate": 1e-3, "max_length": 4}
    with pytest.raises(UserError, match=r"max_length 4 leaves no room beside 4 visual tokens"):
        train_stage(spec("x", recipe=recipe))


def test_a_damaged_stage1_projector_is_refused(spec, tmp_path):
    (tmp_path / "p.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"p\.safetensors is damaged"):
        train_stage(spec("x", projector=tmp_path / "p.safetensors"))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (None, ["cannot be read: No such file or directory"]),
        ("{", ["is not a spec for training:", "Invalid JSON"]),
        ('{"kind": "stage9"}', ["is not a spec for training:", "'stage9' found"]),
        (
            '{"kind": "tokenizer", "words": ["a"], "template": "qa"}',
            ["is not a spec for training:", "tokenizer.output: Field required"],
        ),
    ],
)
def test_a_bad_spec_is_refused_line_by_line(tmp_path, content, lines):
    if content is not None:
        (tmp_path / "bad.json").write_text(content)
    command = [sys.executable, "-m", "vlmscale.training", str(tmp_path / "bad.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    found = done.stderr.splitlines()
    assert len(found) == len(lines)
    for printed, line in zip(found, lines, strict=True):
        assert line in printed


def damaged_split(splits, folder, change):
    """Stage-2 rows with one of them changed, in a split whose manifest agrees."""
    import pyarrow.parquet as pq

    from vlmscale.data.columns import SAMPLE
    from vlmscale.data.shards import list_shards, write_split

    rows = [r for file in list_shards(splits["stage2"]) for r in pq.read_table(file).to_pylist()]
    change(next(row for row in rows if row["image_key"] is not None))
    write_split(folder, {"shard-00000": rows}, SAMPLE, {})
    return folder


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda row: row["image"].update(bytes=b"not an image"),
            r"sample image-\d+: .*does not decode",
        ),
        (
            lambda row: row.update(image=None, image_key=None),
            r"sample image-\d+: 1 <image> marks but no image",
        ),
    ],
    ids=["undecodable image", "placeholder without an image"],
)
def test_a_bad_sample_ends_training_with_its_name(spec, splits, tmp_path, change, says, workers):
    damaged = damaged_split(splits, tmp_path / "split", change)
    bad = spec("bad", data=damaged, execution={"workers": workers})
    file = tmp_path / "spec.json"
    file.write_text(bad.model_dump_json())
    command = [sys.executable, "-m", "vlmscale.training", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert not bad.output.exists()
    assert not bad.record.exists()


def test_logs_to_weights_and_biases_if_set_up(spec, tmp_path, monkeypatch):
    """Offline, so in files; the weights are the same without."""
    quiet, logged = spec("quiet"), spec("logged")
    train_stage(quiet)
    monkeypatch.setenv("WANDB_PROJECT", "vlmscale-tests")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    launch(logged)
    assert weights(logged) == weights(quiet)
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = written.read_bytes()
    assert b"logged" in content
    assert b"train/loss" in content
