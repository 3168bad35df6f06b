"""Our token ids and masks, and those of the released preprocessing, on the same small tokenizers.

Skipped unless VLMSCALE_REFERENCE_DIR names a folder with checkouts of LLaVA and LLaVA-NeXT. Only the
functions that prepare text and the order of samples are taken from them.
"""

import ast
import copy
import dataclasses
import os
import random
import re
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from tests.support import lookalikes
from tests.support.samples import encode
from vlmscale.settings import IMAGE_TOKEN
from vlmscale.training.sampler import group_samples

V = 3  # visual tokens
SENTINEL = (
    -200
)  # what the released code writes for the image, to be replaced by visual tokens later


def functions(file, names, **known):
    """Functions of a file of the checkouts, without the rest of it."""
    folder = os.environ.get("VLMSCALE_REFERENCE_DIR")
    if folder is None or not Path(folder, file).is_file():
        pytest.skip(f"VLMSCALE_REFERENCE_DIR names no folder with {file}")
    tree = ast.parse(Path(folder, file).read_text())
    wanted = [n for n in tree.body if getattr(n, "name", None) in names]
    assert {n.name for n in wanted} == set(names)
    known = {
        "torch": torch,
        "transformers": transformers,
        "copy": copy,
        "re": re,
        "Dict": dict,
        "List": list,
        "Sequence": Sequence,
        "IGNORE_INDEX": -100,
        "IMAGE_TOKEN_INDEX": SENTINEL,
        "DEFAULT_IMAGE_TOKEN": IMAGE_TOKEN,
        **known,
    }
    exec(compile(ast.Module(wanted, []), file, "exec"), known)
    return SimpleNamespace(**known)


def conversations(seed):
    """Random conversations as the real ones look: words, lines, lists, an answer of one word."""
    rng = random.Random(seed)
    words = [
        "What",
        "is",
        "this",
        "A",
        "red",
        "circle",
        "42",
        "it's",
        "é",
        "漢字",
        "x,",
        "y.\n",
        "-",
    ]

    def text(n):
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, n))).strip()

    for _ in range(200):
        turns, image = [], rng.random() < 0.7
        for number in range(rng.randint(1, 4)):
            question = text(8)
            if number == 0 and image:
                question = rng.choice([f"{IMAGE_TOKEN}\n{question}", f"{question}\n{IMAGE_TOKEN}"])
            turns += [{"from": "human", "value": question}, {"from": "gpt", "value": text(20)}]
        yield turns, image


def expanded(ids, labels, image_id):
    """The image's sentinel as visual tokens, which have no label."""
    pairs = []
    for token, label in zip(ids, labels, strict=True):
        pairs += [(image_id, -100)] * V if token == SENTINEL else [(token, label)]
    return [token for token, _ in pairs], [label for _, label in pairs]


def test_vicuna_as_llava_prepares_it(tmp_path, capsys):
    conv = functions(
        "LLaVA/llava/conversation.py",
        ["SeparatorStyle", "Conversation"],
        Enum=Enum,
        auto=auto,
        dataclasses=dataclasses,
        Tuple=tuple,
    )
    tokens = functions("LLaVA/llava/mm_utils.py", ["tokenizer_image_token"])
    library = SimpleNamespace(SeparatorStyle=conv.SeparatorStyle)
    library.default_conversation = conv.Conversation(
        system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        roles=("USER", "ASSISTANT"),
        version="v1",
        messages=[],
        offset=0,
        sep_style=conv.SeparatorStyle.TWO,
        sep=" ",
        sep2="</s>",
    )
    released = functions(
        "LLaVA/llava/train/train.py",
        ["preprocess_v1", "preprocess_multimodal"],
        conversation_lib=library,
        tokenizer_image_token=tokens.tokenizer_image_token,
        IS_TOKENIZER_GREATER_THAN_0_14=True,
        DataArguments=object,
    )
    tokenizer = lookalikes.vicuna(tmp_path)
    tokenizer.legacy, tokenizer.model_max_length = False, 4096
    settings = SimpleNamespace(is_multimodal=True, mm_use_im_start_end=False)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    for turns, image in conversations(0):
        (moved,) = released.preprocess_multimodal([copy.deepcopy(turns)], settings)
        found = released.preprocess_v1([moved], tokenizer, has_image=image)
        ids, labels = (found[key][0].tolist() for key in ("input_ids", "labels"))
        mine = encode(turns, tokenizer, "vicuna_v1", visual_tokens=V)
        assert (mine.input_ids, mine.labels) == expanded(ids, labels, image_id)
    assert "mismatch" not in capsys.readouterr().out


class AsReleased:
    """The tokenizer with what transformers 4.37 had and later versions changed."""

    def __init__(self, tokenizer):
        self.tokenizer, self.chat_template = tokenizer, None
        self.additional_special_tokens_ids = tokenizer.convert_tokens_to_ids(
            ["<|im_start|>", "<|im_end|>"]
        )
        self.add_tokens = lambda *args, **kwargs: None  # <image> is there
        self.convert_tokens_to_ids = tokenizer.convert_tokens_to_ids

    def __call__(self, text):
        return self.tokenizer(text)

    def __deepcopy__(self, memo):
        return self

    def apply_chat_template(self, messages):
        text = self.tokenizer.apply_chat_template(
            messages, chat_template=self.chat_template, tokenize=False
        )
        return self.tokenizer.encode(text, add_special_tokens=False)


def test_qwen_as_llava_next_prepares_it(tmp_path):
    released = functions(
        "LLaVA-NeXT/llava/train/train.py",
        ["preprocess_qwen", "preprocess_multimodal"],
        conversation_lib=SimpleNamespace(default_conversation=SimpleNamespace(version="qwen")),
        DataArguments=object,
    )
    tokenizer = lookalikes.qwen(tmp_path)
    # The released code has the newline of Qwen's vocabulary written into it.
    (newline,) = tokenizer.encode("\n")
    code = released.preprocess_qwen.__code__
    released.preprocess_qwen.__code__ = code.replace(
        co_consts=tuple(newline if c == 198 else c for c in code.co_consts)
    )
    assert 198 in code.co_consts
    settings = SimpleNamespace(is_multimodal=True, mm_use_im_start_end=False)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    for turns, image in conversations(1):
        (moved,) = released.preprocess_multimodal([copy.deepcopy(turns)], settings)
        found = released.preprocess_qwen([moved], AsReleased(tokenizer), has_image=image)
        ids, labels = (found[key][0].tolist() for key in ("input_ids", "labels"))
        mine = encode(turns, tokenizer, "qwen_next", visual_tokens=V)
        assert (mine.input_ids, mine.labels) == expanded(ids, labels, image_id)
        assert encode(turns, tokenizer, "qwen", visual_tokens=V).input_ids == mine.input_ids


def test_the_group_samples_is_llavas_up_to_its_end():
    released = functions(
        "LLaVA/llava/train/llava_trainer.py",
        [
            "split_to_even_chunks",
            "get_length_grouped_indices",
            "get_modality_length_grouped_indices",
        ],
    )
    rng = random.Random(0)
    for seed in range(300):
        micro_batch, parts = rng.choice([(1, 1), (2, 2), (4, 2), (3, 4), (16, 8), (2, 16)])
        size = micro_batch * parts
        lengths = [rng.choice([1, 1, -1]) * rng.randint(1, 60) for _ in range(rng.randint(2, 400))]
        shown = sum(length > 0 for length in lengths)
        if shown in (0, len(lengths)):
            continue
        torch.manual_seed(seed)
        theirs = released.get_modality_length_grouped_indices(lengths, micro_batch, parts)
        generator = torch.Generator().manual_seed(seed)
        mine = group_samples(lengths, micro_batch=micro_batch, parts=parts, generator=generator)
        left = sum((count - 1) % size + 1 for count in (shown, len(lengths) - shown))
        assert mine[:-left] == theirs[:-left]
        assert sorted(mine[-left:]) == theirs[-left:]  # they mix the rest by index
