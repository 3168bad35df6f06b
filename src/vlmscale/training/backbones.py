"""Train tiny backbones from scratch and save them as transformers folders."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from vlmscale.data.stored import read_columns, read_row
from vlmscale.images import decode_image
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.models.conversation import IGNORED
from vlmscale.models.supervised_forward import compute_supervised_states, shift_labels
from vlmscale.models.templates import TEMPLATES
from vlmscale.models.tower import count_special_positions
from vlmscale.records.files import atomic_folder, check_folder_content
from vlmscale.settings import IMAGE_TOKEN
from vlmscale.training.data import Collate, Conversations
from vlmscale.training.loop import optimise, write_record
from vlmscale.training.spec import LlmSpec, TokenizerSpec, TowerSpec

# Marks in a template such as <eos> or <|im_end|>, each one token.
_MARK = r"<[^<>\s]+>"


def train_tokenizer(spec: TokenizerSpec) -> None:
    """Write a word-level tokenizer of the spec's words, the template's words and the special tokens."""
    template = TEMPLATES[spec.template]
    unknown, padding, fixed = "<unk>", "<pad>", template.strings
    marks = sorted(set(re.findall(_MARK, " ".join(fixed))))
    end = re.findall(_MARK, template.answer_close)[0]
    special = [unknown, padding, IMAGE_TOKEN, *marks]
    framing = re.sub("|".join(map(re.escape, special)), " ", " ".join(fixed)).split()
    words = dict.fromkeys([*special, "\n", *framing, *spec.words])
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    # Tokens are words and newlines; spaces only separate.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^\s]+"), "removed", invert=True)
    tokenizer.add_special_tokens(special)
    with atomic_folder(spec.output) as scratch:
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token=unknown,
            pad_token=padding,
            eos_token=end,
            additional_special_tokens=[IMAGE_TOKEN, *marks],
            padding_side="left",
        ).save_pretrained(scratch)


class TextLlm(nn.Module):
    """An LLM with the loss of answers in conversations without images."""

    def __init__(self, llm: Qwen2ForCausalLM) -> None:
        super().__init__()
        self.llm = llm

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        position_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss. Shapes as in `pad_batch`."""
        following = shift_labels(labels)
        supervised = following != IGNORED
        embeds = self.llm.get_input_embeddings()(input_ids)
        states = compute_supervised_states(
            self.llm.model, embeds, supervised, attention_mask, position_ids
        )
        logits = self.llm.lm_head(states)
        if len(states) == 0:
            return {"loss": logits.sum()}  # 0, not the mean over nothing
        return {"loss": F.cross_entropy(logits, following[supervised])}


def train_llm(spec: LlmSpec) -> None:
    """Pretrain a Qwen2 of the given shape on text-only conversations, loss on the answers."""
    check_folder_content(spec.tokenizer)
    tokenizer = load_tokenizer(spec.tokenizer)
    torch.manual_seed(spec.seed)
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=spec.shape.hidden_size,
            intermediate_size=spec.shape.intermediate_size,
            num_hidden_layers=spec.shape.layers,
            num_attention_heads=spec.shape.heads,
            num_key_value_heads=spec.shape.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            # Qwen2's 0.02 suits thousands of channels; tiny LLMs learn far slower from it.
            initializer_range=spec.shape.hidden_size**-0.5,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    dataset = Conversations(
        spec.data,
        tokenizer,
        template=spec.template,
        visual_tokens=0,
        query_turn=None,
        max_length=spec.shape.recipe.max_length,
        apart=spec.shape.recipe.turns == "apart",
        seed=spec.seed,
    )
    collate = Collate(tokenizer, reads_question=False, image_input="pixel_values")
    outcome, _ = optimise(
        TextLlm(llm), dataset, collate, spec.shape.recipe, seed=spec.seed, paths=spec.paths
    )
    with atomic_folder(spec.output) as scratch:
        llm.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
    parameters = sum(p.numel() for p in llm.parameters())
    write_record(spec, outcome, parameters=parameters)


class PatchTagger(nn.Module):
    """A tower with one linear classifier per tag, on each patch of its last selected layer."""

    def __init__(self, tower: CLIPVisionModel, layer: int, classes: dict[str, int]) -> None:
        super().__init__()
        self.tower, self.layer = tower, layer
        width = tower.config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in classes.items()})

    def logits(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Classify every patch: pixel_values (b, 3, h, w) -> for each tag (b, p, classes)."""
        hidden = self.tower(pixel_values, output_hidden_states=True).hidden_states[self.layer]
        patches = hidden[:, count_special_positions(self.tower.config) :]
        return {name: head(patches) for name, head in self.heads.items()}

    def forward(self, pixel_values: Tensor, **tags: Tensor) -> dict[str, Tensor]:
        """Return the loss. tags (b, p): 0 is background, down-weighted as it fills most of an image."""
        losses = []
        for name, logits in self.logits(pixel_values).items():
            weight = torch.ones(logits.shape[-1], device=logits.device)
            weight[0] = _BACKGROUND_WEIGHT
            losses.append(F.cross_entropy(logits.flatten(0, 1), tags[name].flatten(), weight))
        return {"loss": torch.stack(losses).sum()}


_BACKGROUND_WEIGHT = 0.15
_TAGS = ("colour", "shape", "letter")
# Each image is read several times, and decoding takes a sixth of a step. Half a GB at 96 pixels.
_CACHED_IMAGES = 5_000


class TaggedImages(Dataset[dict[str, Any]]):
    """Images with a tag for each patch, as tensors; the last ones used are cached."""

    def __init__(self, split: Path, processor: CLIPImageProcessorPil) -> None:
        self.split, self.processor = split, processor
        self.rows = read_columns(split, ["id", "image", *_TAGS])
        self._cached = lru_cache(_CACHED_IMAGES)(self._read)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._cached(index)

    def _read(self, index: int) -> dict[str, Any]:
        sample = read_row(self.rows, index)
        image = decode_image(sample["image"]["bytes"], f"{self.split}, sample {sample['id']}")
        pixels = self.processor(image, return_tensors="pt")["pixel_values"][0]
        return {
            "id": sample["id"],
            "pixel_values": pixels,
            **{tag: torch.tensor(sample[tag]) for tag in _TAGS},
        }

    def classes(self) -> dict[str, int]:
        """Return the number of classes of each tag, background included."""
        return {tag: pc.max(pc.list_flatten(self.rows[tag])).as_py() + 1 for tag in _TAGS}


def collate_images(samples: Sequence[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """Stack the tensors of samples of `TaggedImages`."""
    tensors = {
        key: torch.stack([sample[key] for sample in samples]) for key in ("pixel_values", *_TAGS)
    }
    return {**tensors, "sample_ids": [sample["id"] for sample in samples], "tokens": 0}


def train_tower(spec: TowerSpec) -> None:
    """Pretrain a CLIP vision transformer to name what each patch shows.

    Supervised tags replace CLIP's contrast with captions, which takes far more images. The tower reads
    no question and no answer.
    """
    processor = CLIPImageProcessorPil(
        size={"height": spec.image_size, "width": spec.image_size},
        do_center_crop=False,
        default_to_square=True,
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    )
    dataset = TaggedImages(spec.data, processor)
    torch.manual_seed(spec.seed)
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=spec.shape.hidden_size,
            intermediate_size=spec.shape.intermediate_size,
            num_hidden_layers=spec.shape.layers,
            num_attention_heads=spec.shape.heads,
            image_size=spec.image_size,
            patch_size=spec.shape.patch_size,
        )
    )
    model = PatchTagger(tower, spec.shape.feature_layers[-1], dataset.classes())
    outcome, _ = optimise(
        model, dataset, collate_images, spec.shape.recipe, seed=spec.seed, paths=spec.paths
    )
    with atomic_folder(spec.output) as scratch:
        tower.save_pretrained(scratch)
        processor.save_pretrained(scratch)
    parameters = sum(p.numel() for p in tower.parameters())
    write_record(spec, outcome, parameters=parameters)
