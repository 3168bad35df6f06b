"""Samples and batches for training: conversations from Parquet shards, images as pixels or features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from vlmscale.data.images import decode_image
from vlmscale.data.stored import (
    ImageReader,
    check_conversations,
    count_question_bytes,
    read_columns,
    read_rows,
)
from vlmscale.errors import UserError
from vlmscale.models.conversation import (
    IGNORED,
    TEMPLATES,
    Encoded,
    Turns,
    encode_all,
    truncate_visual_tokens,
)
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.processor import pad_batch
from vlmscale.settings import IMAGE_TOKEN


@dataclass(frozen=True)
class Sample:
    id: str
    encoded: Encoded
    image: Tensor | None  # pixels (3, h, w) or stored features (1 + p, l d)


# Small splits are seen many times, and tokenising takes a part of a tiny model's step; a larger one is seen
# once or twice, and would take gigabytes.
_KEPT = 20_000


class Conversations(Dataset[Sample]):
    """One split, tokenised on access; what was seen of a small one is kept.

    A sample whose answers all lie beyond `max_length` stays, as in LLaVA's own training, and nothing is
    learned from it; `unlearned` has the positions of these. Raises UserError at once if there is no
    other, and if any conversation's `<image>` marks and image disagree.
    """

    def __init__(
        self,
        split: Path,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: str,
        visual_tokens: int,
        query_turn: str | None,
        max_length: int,
        apart: bool,
        seed: int,
        features: FeatureStore | None = None,
        pixels: Callable[[list[Any]], Tensor] | None = None,
    ) -> None:
        self.split, self.tokenizer, self.seed = split, tokenizer, seed
        self.template, self.visual_tokens, self.query_turn = template, visual_tokens, query_turn
        self.max_length, self.apart = max_length, apart
        self.features, self.pixels = features, pixels
        self.texts = read_columns(split, ["id", "image_key", "conversations"])
        self.images = ImageReader(split)
        check_conversations(str(split), self.texts)
        self.kept: dict[int, tuple[str, Encoded, str | None]] = {}
        self.unlearned = self._unlearned()

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> list[int]:
        """Words of each conversation, negative without an image: what a grouped order goes by."""
        return [
            _words(row["conversations"]) * (-1 if row["image_key"] is None else 1)
            for batch in self.texts.to_batches()
            for row in batch.to_pylist()
        ]

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        return [
            Sample(name, encoded, None if key is None else self._image(index, key, name))
            for index, (name, encoded, key) in zip(indices, self._encoded(indices), strict=True)
        ]

    def filler(self) -> Sample:
        """A sample without anything to learn, with an image if there is one."""
        keys = enumerate(self.texts["image_key"])
        sample = self[next((index for index, key in keys if key.is_valid), 0)]
        nothing = [IGNORED] * len(sample.encoded.labels)
        return replace(sample, encoded=replace(sample.encoded, labels=nothing))

    def _unlearned(self) -> list[int]:
        # A token has at least one byte, so only after a long question can all answers be too far away.
        marks = TEMPLATES[self.template].strings if self.template in TEMPLATES else ()
        before = sum(len(mark.encode()) for mark in marks) + self.visual_tokens + 1
        suspects = np.flatnonzero(count_question_bytes(self.texts) + before >= self.max_length)
        found = [i for i in suspects.tolist() if set(self._encoded([i])[0][1].labels) == {IGNORED}]
        if len(found) == len(self):
            raise UserError(
                f"{self.split}: no sample has anything to learn in its first {self.max_length} tokens. "
                "Raise max_length."
            )
        return found

    def _encoded(self, indices: Sequence[int]) -> list[tuple[str, Encoded, str | None]]:
        """Id, tokens and image key of samples."""
        unseen = [index for index in indices if index not in self.kept]
        samples = read_rows(self.texts, unseen)
        encoded = encode_all(
            [sample["conversations"] for sample in samples],
            self.tokenizer,
            self.template,
            visual_tokens=self.visual_tokens,
            query_turn=self.query_turn,
            apart=self.apart,
            rngs=(np.random.default_rng([self.seed, index]) for index in unseen),
        )
        new = {
            index: (sample["id"], one.truncate(self.max_length), sample["image_key"])
            for index, sample, one in zip(unseen, samples, encoded, strict=True)
        }
        found = [self.kept[index] if index in self.kept else new[index] for index in indices]
        if len(self) <= _KEPT:
            self.kept |= new
        return found

    def _image(self, index: int, key: str, name: str) -> Tensor:
        if self.features is not None:
            return self.features.get(key)
        image = decode_image(self.images[index], f"{self.split}, sample {name}")
        assert self.pixels is not None
        return self.pixels([image])[0]


def _words(turns: Turns) -> int:
    """At least one, so that its sign can be seen."""
    return max(1, sum(len(turn["value"].split()) for turn in turns))


@dataclass(frozen=True)
class Collate:
    """Samples to a batch of model inputs, padded on the right; `sample_ids` names its samples.

    `counts` draws the visual token counts of a batch, at most as many as the samples have: one, or
    several, then the batch holds every sample at each of them, count by count. None: as they are.

    `filler` (Conversations.filler) is added where no sample has an image, with nothing to learn from it:
    all weights that learn take part in every pass, and processes that share them never wait for one
    that does without.
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
        shown = [sample.image is not None for sample in samples]
        images = [sample.image for sample in samples if sample.image is not None]
        batch: dict[str, Any] = {}
        if self.counts is not None and images:
            counts = self.counts(rng)
            image_id = int(self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
            encoded = [truncate_visual_tokens(e, image_id, v) for v in counts for e in encoded]
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
        learned = [e for e in encoded if set(e.labels) != {IGNORED}]
        return {**batch, "sample_ids": ids, "tokens": sum(len(e.input_ids) for e in learned)}
