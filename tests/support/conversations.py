"""Conversations as training reads them."""

# Form of the tokenizer, by template.
FAMILIES = {"qwen": "qwen", "qwen_next": "qwen", "vicuna_v1": "vicuna"}


def said(*pairs):
    """A conversation of (question, answer) pairs; an answer of None leaves a prompt."""
    return [
        {"from": speaker, "value": value}
        for pair in pairs
        for speaker, value in zip(("human", "gpt"), pair, strict=True)
        if value is not None
    ]
