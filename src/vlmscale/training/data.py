"""Samples and batches for training: conversations from Parquet shards, images as pixels or features."""

from collections.abc import Sequence
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
from vlmscale.models.conversation import IGNORED, Encoded, encode
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.processor import pad_batch


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
    image: Tensor | None  # pixels (3, h, w) or stored features (p, l d)


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
    """Samples to a batch of model inputs, padded on the right; `sample_ids` names its samples."""

    tokenizer: PreTrainedTokenizerBase
    reads_question: bool
    image_input: str  # "pixel_values" or "vision_features"

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        batch: dict[str, Any] = pad_batch(
            [sample.encoded for sample in samples],
            [sample.image is not None for sample in samples],
            self.tokenizer,
            reads_question=self.reads_question,
            side="right",
        )
        images = [sample.image for sample in samples if sample.image is not None]
        if images:
            batch[self.image_input] = torch.stack(images)
        return {**batch, "sample_ids": [sample.id for sample in samples]}
