"""Conversations of the small generated world, as trainings read them."""

from vlmscale.models.conversation import encode_all
from vlmscale.training.data import Conversations


def conversations(split, processor, **settings):
    """A split for a model's processor, with the settings of most trainings; others by name."""
    values = {"template": "qa", "query_turn": "first", "max_length": 512, "apart": True, "seed": 0}
    return Conversations(
        split,
        processor.tokenizer,
        visual_tokens=processor.visual_tokens,
        pixels=processor.to_pixels,
        **{**values, **settings},
    )


def model_inputs(batch):
    """What of a collated batch the model itself takes."""
    return {key: value for key, value in batch.items() if key not in ("sample_ids", "tokens")}


def encode(turns, tokenizer, template, *, rng=None, **settings):
    """One conversation as tokens."""
    (encoded,) = encode_all([turns], tokenizer, template, rngs=[rng], **settings)
    return encoded
