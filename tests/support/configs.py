"""Parts of configs."""


def make_block(method, visual_tokens):
    return {"methods": [method], "llms": ["d32"], "visual_tokens": visual_tokens, "seeds": [0]}
