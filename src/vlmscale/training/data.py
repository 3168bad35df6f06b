"""Samples and batches for training: conversations from Parquet shards, images as pixels or features."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Image, load_dataset
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from vlmscale.data.images import decode
from vlmscale.data.shards import check_conversations, shard_files
from vlmscale.errors import UserError
from vlmscale.models.conversation import IGNORED, Encoded, encode, with_visual_tokens
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.processor import pad_batch
from vlmscale.settings import IMAGE_TOKEN


def read_rows(split: Path, cache: Path) -> Any:
    """The rows of a split as a memory-mapped `datasets` table, images as bytes.

    `cache` is where the Arrow copy of the shards is kept. Raises UserError for a damaged shard.
    """
    files = [str(file) for file in shard_files(split, checksum=True)]
    rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))
    return rows.cast_column("image", Image(decode=False))


@dataclass(frozen=True)
class Sample:
    id: str
    encoded: Encoded
    image: Tensor | None  # pixels (3, h, w) or stored features (1 + p, l d)


class Conversations(Dataset[Sample]):
    """One split, tokenised on access.

    Raises UserError at once if any conversation's `<image>` marks and image disagree.
    """

    def __init__(
        self,
        split: Path,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: str,
        visual_tokens: int,
        query_turn: str,
        max_length: int,
        seed: int,
        cache: Path,
        features: FeatureStore | None = None,
        image_processor: Any = None,
    ) -> None:
        self.split, self.tokenizer, self.seed = split, tokenizer, seed
        self.template, self.visual_tokens, self.query_turn = template, visual_tokens, query_turn
        self.max_length = max_length
        self.features, self.image_processor = features, image_processor
        self.rows = read_rows(split, cache)
        texts = self.rows.select_columns(["id", "image_key", "conversations"])
        check_conversations(str(split), texts)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        encoded = encode(
            row["conversations"],
            self.tokenizer,
            self.template,
            visual_tokens=self.visual_tokens,
            query_turn=self.query_turn,
            rng=np.random.default_rng([self.seed, index]),
        )
        labels = encoded.labels[: self.max_length]
        if all(label == IGNORED for label in labels):
            raise UserError(
                f"{self.split}, sample {row['id']}: nothing to learn in its first "
                f"{self.max_length} tokens. Raise max_length or remove the sample."
            )
        cut = Encoded(encoded.input_ids[: self.max_length], labels, encoded.question_ids)
        return Sample(row["id"], cut, self._image(row))

    def _image(self, row: dict[str, Any]) -> Tensor | None:
        if row["image_key"] is None:
            return None
        if self.features is not None:
            return self.features.get(row["image_key"])
        image = decode(row["image"]["bytes"], f"{self.split}, sample {row['id']}")
        pixels: Tensor = self.image_processor(image, return_tensors="pt")["pixel_values"][0]
        return pixels


@dataclass(frozen=True)
class Collate:
    """Samples to a batch of model inputs, padded on the right; `sample_ids` names its samples.

    `counts` gives the visual token counts of a batch, at most as many as the samples have: one, or
    several, then the batch holds every sample at each of them, count by count. None: as they are.
    """

    tokenizer: PreTrainedTokenizerBase
    reads_question: bool
    image_input: str  # "pixel_values" or "vision_features"
    counts: Callable[[np.random.Generator], list[int]] | None = None
    seed: int = 0

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        ids = [sample.id for sample in samples]
        encoded = [sample.encoded for sample in samples]
        shown = [sample.image is not None for sample in samples]
        images = [sample.image for sample in samples if sample.image is not None]
        batch: dict[str, Any] = {}
        if self.counts is not None and images:
            # Drawn from the samples, not from a stream: a resumed training draws the same.
            digest = hashlib.sha256("\n".join(ids).encode()).digest()
            counts = self.counts(np.random.default_rng([self.seed, *digest]))
            image_id = int(self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
            encoded = [with_visual_tokens(e, image_id, v) for v in counts for e in encoded]
            shown = shown * len(counts)
            batch["visual_token_counts"] = torch.tensor(counts)
        batch |= pad_batch(
            encoded,
            shown,
            self.tokenizer,
            reads_question=self.reads_question,
            side="right",
        )
        if images:
            batch[self.image_input] = torch.stack(images)
        return {**batch, "sample_ids": ids}
