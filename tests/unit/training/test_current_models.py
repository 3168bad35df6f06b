"""Both stages on a tiny SigLIP2 and a tiny Qwen3, in the settings of config/modern.yaml."""

import json

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.support import lookalikes
from tests.support.paths import ROOT
from tests.support.towers import write_tower
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import load
from vlmscale.study.load import load_study
from vlmscale.training.stages import train_stage


@pytest.fixture
def qwen3(tmp_path):
    """Heads wider than hidden_size / heads, fewer of keys than of queries, a tied head."""
    tokenizer = lookalikes.qwen(tmp_path / "qwen3")
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    config = Qwen3Config(**shape, **heads, vocab_size=len(tokenizer) + 7)
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "qwen3")
    return tmp_path / "qwen3"


@pytest.mark.parametrize("method", ["tokenpacker", "quecc", "avgpool"])
def test_both_stages_and_an_answer(spec, splits, qwen3, tmp_path, images, method):
    study = load_study(ROOT / "config/modern.yaml")
    tower = write_tower("siglip2", tmp_path / "tower", side=48)
    shared = {"llm": qwen3, "tower": tower, "template": study.template, "method": method}
    shared |= {"image_size": 32, "visual_tokens": 4, "feature_layers": (1, 2, 3)}
    recipes = []
    for stage in (study.stage1, study.stage2):
        few = {"steps": 3, "batch_size": 4, "learning_rate": 1e-2}
        kept = stage.model_dump(include={"warmup_ratio", "max_length", "aspect", "order"})
        recipes.append(kept | few | {"precision": stage.precision})
    first = spec("first", kind="stage1", data=splits["stage1"], recipe=recipes[0], **shared)
    first = first.model_copy(update={"output": tmp_path / "projector.safetensors"})
    train_stage(first)
    second = spec("second", recipe=recipes[1], projector=first.output, **shared)
    train_stage(second)
    for run in (first, second):
        record = json.loads(run.record.read_text())
        assert record["template"] == "qwen3"
        assert record["image_size"] == 32
        assert all(torch.isfinite(torch.tensor(loss)) for _, loss in record["losses"])
    model, processor = load(second.output)
    assert model.config.setting == find_method(method).make_setting(4)
    assert model.dtype == torch.bfloat16
    inputs = processor.ask(images, ["how many ?"] * 3)
    assert inputs["pixel_values"].shape == (3, 3, 32, 32)
    thought = processor.tokenizer("<think>\n\n</think>\n\n", add_special_tokens=False)["input_ids"]
    assert inputs["input_ids"][0, -len(thought) :].tolist() == thought
    out = model.eval().generate(**inputs, max_new_tokens=3)
    assert len(processor.decode_answers(inputs, out)) == 3
