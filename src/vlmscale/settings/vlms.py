"""Released VLMs that a study evaluates as they are."""

from typing import Literal

from pydantic import Field

from vlmscale.settings.base import Frozen

# What budgets each can give is in costs/image_tokens.py.
VlmFamily = Literal["qwen2_5_vl", "qwen3_vl", "internvl3", "internvl3_5", "llava_onevision"]


class ReleasedVlm(Frozen):
    """A released VLM: where it is fetched from, and its parts."""

    repository: str = Field(
        pattern=r"^[\w.-]+/[\w.-]+$", description="repository on the Hugging Face hub: owner/name"
    )
    revision: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{40}$",
        description="commit of the repository, all 40 digits; without it the newest is fetched, which the "
        "record of the download names",
    )
    family: VlmFamily = Field(
        description="its family, which decides lmms-eval's adapter, the budgets and the law it belongs to"
    )
    llm: str = Field(
        description="name of its LLM in a file of resources/backbones: N is that without embedding and head"
    )
    tower: str = Field(description="row of resources/vlm_towers.csv with the shape of its tower")
