"""lmms-eval's entry point: `--model vlmscale --model_args pretrained=FOLDER` finds the adapter."""

from typing import Any


def manifests() -> list[Any]:
    """List the models that this package adds to lmms-eval."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(model_id="vlmscale", simple_class_path="vlmscale.evaluation.adapter.VlmScale")
    ]
