"""Fit laws of error against LLM size and visual tokens, test them, and choose models by them.

Each name in __init__.pyi is imported on first access. None needs torch.
"""

from vlmscale import attach_stub

__all__, __getattr__, __dir__ = attach_stub(__name__, __file__)
