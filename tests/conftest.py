"""Shared fixtures: a small generated world, and random tiny backbones to build models on."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tensors of tests are too small to be shared by threads, and tests run side by side. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, however busy the machine: a red test is red for everybody.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`pytest -n 2`: a process takes one file after the other, and tests/slurm, of one cluster, as a whole."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "tests/slurm" if file.startswith("tests/slurm/") else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """A drill is a test that measures what a fault costs."""
    for item in items:
        if "cost_of" in item.fixturenames:
            item.add_marker(pytest.mark.drill)


@pytest.fixture
def cost_of():
    """cost_of(fault) -> where a test notes what the fault cost; compared with docs/drills.csv at its end."""
    from tests.support.drills import Cost, check

    costs = []
    yield lambda fault: costs.append(Cost(fault)) or costs[-1]
    for cost in costs:
        check(cost)


@pytest.fixture(scope="session")
def study():
    from vlmscale.study.load import load_study

    return load_study(ROOT / "config" / "smoke.yaml")


@pytest.fixture(scope="session")
def splits(study, tmp_path_factory):
    """A few samples of every split of the smoke study's world: folder by split name."""
    from vlmscale.data.world.generate import generate_split
    from vlmscale.settings import Counts

    folder = tmp_path_factory.mktemp("world")
    counts = {
        "corpus": Counts(text=80),
        "tower": Counts(scenes=12, pages=12),
        "stage1": Counts(scenes=12, pages=12),
        "stage2": Counts(scenes=24, pages=16, text=8),
        "test": Counts(scenes=6, pages=6),
    }
    for split, count in counts.items():
        patch = study.tower.patch_size
        generate_split(study.world, split, count, folder / split, sample=0, patch=patch)
    return {split: folder / split for split in counts}


@pytest.fixture(scope="session")
def backbones(study, tmp_path_factory):
    """Untrained backbones in the folders that training writes: {"llm": ..., "tower": ...}."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        CLIPVisionModel,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    from vlmscale.data.world.questions import list_vocabulary
    from vlmscale.models.checkpoint import load_tokenizer
    from vlmscale.training.backbones import train_tokenizer
    from vlmscale.training.spec import TokenizerSpec

    folder = tmp_path_factory.mktemp("backbones")
    train_tokenizer(
        TokenizerSpec(
            words=list_vocabulary(study.world), template="qa", output=folder / "tokenizer"
        )
    )
    tokenizer = load_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    # Widths of tower and LLM differ: where they are equal, a mix-up goes unseen.
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    llm.save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    side = study.world.image_size
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=side,
            patch_size=study.tower.patch_size,
        )
    )
    tower.save_pretrained(folder / "tower")
    CLIPImageProcessorPil(
        size={"height": side, "width": side}, do_center_crop=False, default_to_square=True
    ).save_pretrained(folder / "tower")
    return {"llm": folder / "llm", "tower": folder / "tower"}


@pytest.fixture(scope="session")
def build(backbones):
    """build(method, visual_tokens, **options) -> an untrained Vlm and its processor, in eval mode."""
    from vlmscale.methods import find_method
    from vlmscale.models.checkpoint import assemble

    def assemble_tiny(name, visual_tokens, **options):
        model, processor = assemble(
            backbones["llm"],
            backbones["tower"],
            find_method(name).make_setting(visual_tokens, **options),
            feature_layers=[1, 2, 3],
            template="qa",
            seed=0,
        )
        return model.eval(), processor

    return assemble_tiny
