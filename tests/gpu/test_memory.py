"""The memory that a training takes on the GPU is what `costs.memory` predicts, within 15 %."""

import json
import os

import pytest
import torch
from transformers import AutoConfig

from tests.gpu.tiny import PATCH, SIDE, make_spec, write_backbones, write_samples
from vlmscale.costs.memory import Layout, gpu_memory
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.training.stages import train_stage

# The rehearsal on the CPU is small: torch counts the peak of memory on CUDA alone.
REHEARSAL = os.environ.get("VLMSCALE_DEVICE") == "cpu"
WIDTH, LAYERS, INTERMEDIATE, HEADS = (64, 2, 128, 4) if REHEARSAL else (1024, 12, 2816, 16)
SEQUENCES, LENGTH = (2, 64) if REHEARSAL else (4, 1024)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """An LLM of 150 million weights on a GPU, and samples that fill LENGTH positions with supervised ones."""
    folder = tmp_path_factory.mktemp("wide")
    write_backbones(
        folder, width=WIDTH, layers=LAYERS, intermediate=INTERMEDIATE, tower_width=64, heads=HEADS
    )
    answer = " ".join(["red"] * 2 * LENGTH)
    turns = [("human", "<image>\nwhich colour ?"), ("gpt", answer)]
    for stage in ("stage1", "stage2"):
        write_samples(folder / stage, [turns] * SEQUENCES)
    return {path.name: path for path in folder.iterdir()}


def predict(parts, spec):
    """Return the bytes that costs.memory predicts for a training."""
    config = AutoConfig.from_pretrained(parts["llm"])
    decoder = Decoder(
        nominal_b=1.0,
        layers=LAYERS,
        hidden_size=WIDTH,
        intermediate_size=INTERMEDIATE,
        heads=HEADS,
        key_value_heads=HEADS,
        vocabulary=config.vocab_size,
        tied_head=True,
        qkv_bias=True,
    )
    tower = Tower(
        layers=3,
        hidden_size=64,
        intermediate_size=128,
        image_size=SIDE,
        patch_size=PATCH,
        feature_layers=3,
    )
    layout = Layout(
        gpus=1,
        zero=0,
        sequences=SEQUENCES,
        max_length=LENGTH,
        checkpointing=spec.execution.activation_checkpointing,
    )
    return gpu_memory(decoder, tower, spec.method, spec.visual_tokens, spec.kind, layout)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["stage1", "stage2"])
@pytest.mark.parametrize("method", ["mlp", "tokenpacker"])
def test_peak_memory_is_predicted(device, request, tmp_path, method, kind, checkpointing):
    parts = request.getfixturevalue("wide")
    spec = make_spec(
        parts,
        tmp_path / "run",
        method,
        kind,
        precision="bf16",
        recipe={"steps": 3, "batch_size": SEQUENCES, "max_length": LENGTH},
        execution={"activation_checkpointing": checkpointing},
    )
    predicted = predict(parts, spec)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    train_stage(spec)
    measured = json.loads(spec.record.read_text())["peak_memory_bytes"] - before
    if device.type == "cpu":
        assert measured > predicted.total > 0, "the whole process"
        return
    assert measured == pytest.approx(predicted.total, rel=0.15)


def test_the_prediction_follows_the_stage_and_checkpointing(device, parts, tmp_path):
    """A rehearsal of what the test above calls, on every device, with the tiny parts."""
    spec = make_spec(parts, tmp_path / "run", "mlp", "stage2")
    kept = predict(parts, spec).total
    again = make_spec(
        parts, tmp_path / "again", "mlp", "stage2", execution={"activation_checkpointing": True}
    )
    assert predict(parts, again).total < kept
    first = make_spec(parts, tmp_path / "first", "mlp", "stage1")
    assert predict(parts, first).total < kept
