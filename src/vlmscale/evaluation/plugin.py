"""lmms-eval's entry point: `--model vlmscale --model_args pretrained=FOLDER` finds our adapter."""

from typing import Any


def manifests() -> list[Any]:
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(model_id="vlmscale", simple_class_path="vlmscale.evaluation.adapter.VlmScale")
    ]
