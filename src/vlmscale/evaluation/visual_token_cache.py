"""Cache the visual tokens of images: benchmarks ask several questions about the same one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vlmscale.models.vlm_model import VisualTokens


class VisualTokenCache:
    """Visual tokens by image key. Beyond `limit` bytes the oldest entries are dropped."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self._tokens: dict[str, Tensor] = {}
        self._present: dict[str, Tensor] = {}
        self._context: dict[str, Tensor] = {}

    def get_or_encode(
        self, keys: Sequence[str], encode: Callable[[list[int]], VisualTokens]
    ) -> VisualTokens:
        """Return the visual tokens of the images `keys`, in order.

        encode: positions in `keys` -> visual tokens of these images.
        """
        new = {key: position for position, key in enumerate(keys) if key not in self._tokens}
        if new:
            visual = encode(list(new.values()))
            self._tokens |= zip(new, visual.tokens.chunk(len(new)), strict=True)
            if visual.present is not None:
                self._present |= zip(new, visual.present.chunk(len(new)), strict=True)
            if visual.context is not None:
                self._context |= zip(new, visual.context.split(1), strict=True)
        tokens = torch.cat([self._tokens[key] for key in keys])
        present = torch.cat([self._present[key] for key in keys]) if self._present else None
        context = torch.cat([self._context[key] for key in keys]) if self._context else None
        self._drop_oldest()
        return VisualTokens(tokens, present, context)

    def _drop_oldest(self) -> None:
        kept = [*self._tokens.values(), *self._context.values()]
        excess = sum(each.nbytes for each in kept) - self.limit
        for key in list(self._tokens):
            if excess <= 0:
                return
            excess -= self._tokens.pop(key).nbytes
            if key in self._context:
                excess -= self._context.pop(key).nbytes
            self._present.pop(key, None)
