"""Open a released VLM in lmms-eval's adapter of its family, at a budget of visual tokens."""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.model import lmms
from tqdm import tqdm

from vlmscale.costs.image_tokens import IMAGE_TOKENS
from vlmscale.errors import UserError
from vlmscale.settings.vlms import VlmFamily

# Below lmms_eval.models. Of each family, the adapter that heeds the budget: the chat adapter of Qwen3-VL
# calls its processor with resizing off, and so ignores pixel limits; the simple one of Qwen2.5-VL resizes
# twice, the second time up again where whole tokens fell below the limit, and makes JPEGs of images before.
ADAPTERS: dict[VlmFamily, str] = {
    "qwen2_5_vl": "chat.qwen2_5_vl.Qwen2_5_VL",
    "qwen3_vl": "simple.qwen3_vl.Qwen3_VL",
    "internvl3": "chat.internvl_hf.InternVLHf",
    "internvl3_5": "chat.internvl_hf.InternVLHf",
    "llava_onevision": "chat.llava_hf.LlavaHf",
}
_IMPORTED = ("decord", "torchvision", "qwen_vl_utils")  # by these adapters or their processors


def open_adapter(family: VlmFamily, folder: Path, budget: int) -> lmms:
    """Return lmms-eval's adapter with the model in `folder`, its images limited to `budget` visual tokens.

    Raises UserError where a package that the adapters import is not installed.
    """
    if missing := [name for name in _IMPORTED if find_spec(name) is None]:
        raise UserError(
            f"lmms-eval's adapters of released VLMs import {', '.join(missing)}, which this environment "
            "lacks. Install decord, qwen-vl-utils and the torchvision of your torch's build."
        )
    name, _, kind = ADAPTERS[family].rpartition(".")
    module = importlib.import_module(f"lmms_eval.models.{name}")
    _silence(module.__name__)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = IMAGE_TOKENS[family].make_arguments(budget)
    own = {} if family == "llava_onevision" else given  # whose adapter has no argument for it
    adapter: lmms = getattr(module, kind)(
        pretrained=str(folder), device=device, device_map=device, batch_size=1, **own
    )
    adapter.model.eval()
    if family == "llava_onevision":
        _limit_tiles(adapter, given)
    return adapter


def _limit_tiles(adapter: Any, given: dict[str, Any]) -> None:
    """Let processor and model of LLaVA-OneVision know the budget: both compute the layout of the tiles."""
    processor = adapter._image_processor
    processor.vision_aspect_ratio = given["vision_aspect_ratio"]
    processor.image_processor.image_grid_pinpoints = given["grid"]
    adapter.model.config.vision_aspect_ratio = given["vision_aspect_ratio"]
    adapter.model.config.image_grid_pinpoints = given["grid"]


def _silence(module: str) -> None:
    """Drop an adapter's bars and speeds, which it would print for each question."""
    names = vars(sys.modules[module])
    names["tqdm"] = lambda *_, **__: tqdm(disable=True)
    if "log_metrics" in names:
        names["log_metrics"] = lambda **_: None
