"""Training samples and batches: conversations from Parquet shards, images as pixels or features."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from vlmscale.data.stored import (
    ImageReader,
    check_conversations,
    count_question_bytes,
    read_columns,
    read_rows,
)
from vlmscale.errors import UserError
from vlmscale.images import decode_image
from vlmscale.models.conversation import IGNORED, Encoded, encode_all, truncate_visual_tokens
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.processor import pad_batch
from vlmscale.models.templates import TEMPLATES
from vlmscale.settings import IMAGE_TOKEN, PromptLayout


@dataclass(frozen=True)
class Sample:
    """One conversation as tokens, with its image."""

    id: str
    encoded: Encoded
    image: Tensor | None  # pixels (3, h, w) or stored features (s + p, l d)


# Tokens of splits up to this many samples are cached: small splits are read for many epochs, and tokenising
# them takes a noticeable part of a tiny model's step. Larger ones would take gigabytes.
MAX_CACHED_SAMPLES = 20_000


@dataclass(eq=False)
class Conversations(Dataset[Sample]):
    """A split, tokenised on access; the tokens of a small split are cached.

    A sample whose answers all lie beyond `max_length` stays, as in LLaVA's own training, but contributes
    no loss; `without_loss` has the positions of these. Raises UserError if every sample is one of these,
    or if a conversation's `<image>` marks and image disagree.
    """

    split: Path
    tokenizer: PreTrainedTokenizerBase
    _: KW_ONLY
    template: str
    visual_tokens: int
    query_turn: str | None
    max_length: int
    apart: bool
    seed: int
    features: FeatureStore | None = None
    pixels: Callable[[list[Any]], Tensor] | None = None
    layout: PromptLayout = "image_first"

    def __post_init__(self) -> None:
        self.texts = read_columns(self.split, ["id", "image_key", "conversations"])
        self.images = ImageReader(self.split)
        check_conversations(str(self.split), self.texts)
        self.cache: dict[int, tuple[str, Encoded, str | None]] = {}
        self.without_loss = self._find_without_loss()

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> list[int]:
        """The words of each conversation, negative without an image, for a grouped order."""
        lengths = []
        for batch in self.texts.to_batches():
            for row in batch.to_pylist():
                words = sum(len(turn["value"].split()) for turn in row["conversations"])
                # At least one, because the count has a sign.
                lengths.append(max(1, words) * (-1 if row["image_key"] is None else 1))
        return lengths

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        return [
            Sample(name, encoded, None if key is None else self._load_image(index, key, name))
            for index, (name, encoded, key) in zip(indices, self._encode(indices), strict=True)
        ]

    def make_filler(self) -> Sample:
        """Return a sample without supervised positions, with an image if the split has any."""
        keys = enumerate(self.texts["image_key"])
        sample = self[next((index for index, key in keys if key.is_valid), 0)]
        labels = [IGNORED] * len(sample.encoded.labels)
        return replace(sample, encoded=replace(sample.encoded, labels=labels))

    def _find_without_loss(self) -> list[int]:
        # A token has at least one byte, so only samples with a long question need to be tokenised.
        marks = TEMPLATES[self.template].strings if self.template in TEMPLATES else ()
        before = sum(len(mark.encode()) for mark in marks) + self.visual_tokens + 1
        suspects = np.flatnonzero(count_question_bytes(self.texts) + before >= self.max_length)
        positions = [
            i for i in suspects.tolist() if set(self._encode([i])[0][1].labels) == {IGNORED}
        ]
        if len(positions) == len(self):
            raise UserError(
                f"{self.split}: no sample has an answer in its first {self.max_length} tokens. "
                "Raise max_length."
            )
        return positions

    def _encode(self, indices: Sequence[int]) -> list[tuple[str, Encoded, str | None]]:
        """Return id, tokens and image key of samples, from the cache or tokenised."""
        missing = [index for index in indices if index not in self.cache]
        samples = read_rows(self.texts, missing)
        encoded = encode_all(
            [sample["conversations"] for sample in samples],
            self.tokenizer,
            self.template,
            visual_tokens=self.visual_tokens,
            query_turn=self.query_turn,
            apart=self.apart,
            layout=self.layout,
            rngs=(np.random.default_rng([self.seed, index]) for index in missing),
        )
        new = {
            index: (sample["id"], one.truncate(self.max_length), sample["image_key"])
            for index, sample, one in zip(missing, samples, encoded, strict=True)
        }
        results = [self.cache[index] if index in self.cache else new[index] for index in indices]
        if len(self) <= MAX_CACHED_SAMPLES:
            self.cache |= new
        return results

    def _load_image(self, index: int, key: str, name: str) -> Tensor:
        if self.features is not None:
            return self.features.get(key)
        image = decode_image(self.images[index], f"{self.split}, sample {name}")
        assert self.pixels is not None
        return self.pixels([image])[0]


@dataclass(frozen=True)
class Collate:
    """Collate samples into a batch of model inputs, padded on the right; `sample_ids` names the samples.

    counts: draws the visual token counts of a batch, never more tokens than the samples have. With several
    counts the batch holds every sample at each of them, count by count. None keeps the samples' own count.
    filler: is added where no sample has an image (see Conversations.make_filler). All trainable weights
    then take part in every pass, so no rank waits for one that leaves some out.
    """

    tokenizer: PreTrainedTokenizerBase
    reads_question: bool
    image_input: str  # "pixel_values" or "vision_features"
    counts: Callable[[np.random.Generator], list[int]] | None = None
    filler: Sample | None = None

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> dict[str, Any]:
        ids = [sample.id for sample in samples]
        if self.filler is not None and not any(
            sample.image is not None or self.filler.image is None for sample in samples
        ):
            samples = [*samples, self.filler]
        encoded = [sample.encoded for sample in samples]
        has_image = [sample.image is not None for sample in samples]
        images = [sample.image for sample in samples if sample.image is not None]
        batch: dict[str, Any] = {}
        if self.counts is not None and images:
            counts = self.counts(rng)
            image_id = int(self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
            encoded = [truncate_visual_tokens(e, image_id, v) for v in counts for e in encoded]
            has_image = has_image * len(counts)
            batch["visual_token_counts"] = torch.tensor(counts)
        batch |= pad_batch(
            encoded, has_image, self.tokenizer, reads_question=self.reads_question, side="right"
        )
        if images:
            batch[self.image_input] = torch.stack(images)
        supervised = [e for e in encoded if set(e.labels) != {IGNORED}]
        return {**batch, "sample_ids": ids, "tokens": sum(len(e.input_ids) for e in supervised)}
