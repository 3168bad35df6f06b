"""Models of published shapes without a weight: on the meta device, in seconds, whatever their size."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from vlmscale.models.checkpoint import frame
from vlmscale.models.vlm import Vlm
from vlmscale.provenance import read_json
from vlmscale.resources import resource


def backbone(name: str) -> PreTrainedConfig:
    """The published config of an LLM or vision tower, from resources/backbones/`name`.json.

    Raises UserError when there is none.
    """
    values: dict[str, Any] = read_json(resource(f"backbones/{name}.json"))["config"]
    return AutoConfig.for_model(**values)


def from_shapes(
    llm: str,
    tower: str,
    *,
    method: str,
    visual_tokens: int,
    options: dict[str, str],
    feature_layers: list[int],
) -> Vlm:
    """The VLM that `assemble` makes from the folders of these backbones, on the meta device.

    llm, tower: names in resources/backbones. No tokenizer is read, so `<image>` is the last row of the
    embedding; assemble adds a row where the tokenizer has a name for each of them (Vicuna). Raises
    UserError for an unknown name, ValueError for a token count that the method cannot give.
    """
    text = backbone(llm)
    return frame(
        text,
        backbone(tower),
        image_token=text.vocab_size - 1,
        method=method,
        visual_tokens=visual_tokens,
        options=options,
        feature_layers=feature_layers,
        template="plain",
    )
