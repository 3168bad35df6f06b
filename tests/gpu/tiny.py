"""Tiny backbones and conversations about random images, made without `datasets`."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from vlmscale.data.shards import write_split
from vlmscale.methods import find_method, find_variant
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.spec import StageSpec, TokenizerSpec

SIDE, PATCH = 48, 8  # pixels; 6 x 6 patches
STEPS = 4
COLOURS = ("red", "green", "blue", "black")
NUMBERS = ("one", "two", "three", "four", "five")
WORDS = (*COLOURS, *NUMBERS, "which", "colour", "how", "many", "?", "a", "picture", "of")
_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_TURN = pa.struct({"from": pa.string(), "value": pa.string()})
SCHEMA = pa.schema(
    [
        ("id", "string"),
        ("image", _IMAGE),
        ("image_key", "string"),
        ("conversations", pa.list_(_TURN)),
    ]
)


def write_parts(folder):
    """Write the LLM, the tower and the splits; return their folders by name."""
    write_backbones(folder, width=24, layers=2, intermediate=48, tower_width=32)
    write_samples(folder / "stage1", [caption(i) for i in range(16)])
    write_samples(folder / "stage2", [question(i) for i in range(16)])
    return {path.name: path for path in folder.iterdir()}


def write_backbones(folder, *, width, layers, intermediate, tower_width, heads=4):
    """Write an untrained Qwen2 with a tokenizer of WORDS to folder/llm, and a CLIP tower to folder/tower."""
    train_tokenizer(TokenizerSpec(words=WORDS, template="qa", output=folder / "tokenizer"))
    tokenizer = load_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            tie_word_embeddings=True,
            initializer_range=width**-0.5,  # as of tiny LLMs: answers depend on the image
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    llm.save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=tower_width,
            intermediate_size=2 * tower_width,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=PATCH,
        )
    ).save_pretrained(folder / "tower")
    CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, default_to_square=True
    ).save_pretrained(folder / "tower")


def draw(number):
    """An image of random pixels, always the same one for a number."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def caption(number):
    words = f"a picture of {NUMBERS[number % 5]} {COLOURS[number % 4]}"
    return [("human", "<image>\na picture ?"), ("gpt", words)]


def question(number):
    """A conversation of one to three turns; every fourth has no image."""
    mark = "" if number % 4 == 3 else "<image>\n"
    turns = [("human", f"{mark}which colour ?"), ("gpt", COLOURS[number % 4])]
    more = [("human", "how many ?"), ("gpt", NUMBERS[number % 5])]
    return turns + (number % 3) * more


def write_samples(folder, conversations):
    """Write a split with an image for each conversation that marks one."""
    rows = []
    for number, turns in enumerate(conversations):
        row = {"id": f"s{number}", "image": None, "image_key": None}
        if turns[0][1].startswith("<image>"):
            file = io.BytesIO()
            draw(number).save(file, "PNG")
            row |= {"image": {"bytes": file.getvalue(), "path": None}, "image_key": f"i{number}"}
        row["conversations"] = [{"from": who, "value": text} for who, text in turns]
        rows.append(row)
    write_split(folder, {"shard-00000": rows}, SimpleNamespace(arrow_schema=SCHEMA), {})


def choose_count(method):
    """Four visual tokens where the method can give them, else its largest number up to nine or its least."""
    counts = find_method(method).list_counts(SIDE // PATCH)
    if 4 in counts:
        return 4
    return max([count for count in counts if count <= 9], default=counts[0])


def make_spec(parts, folder, method, kind, *, precision="fp32", recipe=None, **changes):
    """A training of one stage into `folder`, from pixels."""
    # An elastic method trains all its counts at once, from the most.
    name, tokens = find_variant(method, {}).find_training(choose_count(method), SIDE // PATCH)
    values = {
        "kind": kind,
        "run": folder.name,
        "method": method,
        "visual_tokens": tokens if name == method else choose_count(method),
        "options": find_method(method).complete_options({}),
        "seed": 3,
        "template": "qa",
        "feature_layers": (1, 2, 3),
        "recipe": {
            "steps": STEPS,
            "batch_size": 4,
            "learning_rate": 3e-3,
            "precision": precision,
            **(recipe or {}),
        },
        "fingerprint": "f00",
        "llm": parts["llm"],
        "tower": parts["tower"],
        "data": parts[kind],
        "features": None,
        "projector": None,
        "output": folder / ("projector.safetensors" if kind == "stage1" else "model"),
        "record": folder / "run.json",
        "paths": {"work": folder / "work", "tensorboard": folder / "tb"},
        **changes,
    }
    return StageSpec(**values)
