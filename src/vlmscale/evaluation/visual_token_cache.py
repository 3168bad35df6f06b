"""Images that a model has looked at: benchmarks ask about the same one again and again."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vlmscale.models.vlm_model import VisualTokens


class SeenImages:
    """Visual tokens by image key. Beyond `limit` bytes those that came first are forgotten."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self._tokens: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}

    def look(
        self, keys: Sequence[str], encode: Callable[[list[int]], VisualTokens]
    ) -> VisualTokens:
        """What the compressor makes of the images `keys`, in order.

        encode: positions in `keys` -> that of these images, which are new and all different.
        """
        new = {key: place for place, key in enumerate(keys) if key not in self._tokens}
        if new:
            visual = encode(list(new.values()))
            self._tokens |= zip(new, visual.tokens.chunk(len(new)), strict=True)
            if visual.present is not None:
                self._kept |= zip(new, visual.present.chunk(len(new)), strict=True)
        tokens = torch.cat([self._tokens[key] for key in keys])
        kept = torch.cat([self._kept[key] for key in keys]) if self._kept else None
        self._forget()
        return VisualTokens(tokens, kept)

    def _forget(self) -> None:
        excess = sum(tokens.nbytes for tokens in self._tokens.values()) - self.limit
        for key in list(self._tokens):
            if excess <= 0:
                return
            excess -= self._tokens.pop(key).nbytes
            self._kept.pop(key, None)
