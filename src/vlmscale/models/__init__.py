"""Vision-language models with a choice of projectors.

Importing this package registers them with transformers. A model folder then opens by the Auto classes,
with its method and without remote code:

    AutoModelForImageTextToText.from_pretrained(folder)
    AutoProcessor.from_pretrained(folder)
"""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from vlmscale.models.config import VlmConfig
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.vlm import Vlm

__all__ = ["Vlm", "VlmConfig", "VlmProcessor"]

AutoConfig.register("vlmscale", VlmConfig)
AutoModelForImageTextToText.register(VlmConfig, Vlm)
AutoProcessor.register(VlmConfig, VlmProcessor)
