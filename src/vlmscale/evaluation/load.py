"""Open a trained model from Python."""

from pathlib import Path
from typing import Any

from vlmscale.errors import require_extra


def load_model(folder: str | Path) -> tuple[Any, Any]:
    """Return the Vlm and the VlmProcessor of a model folder, such as RUN/stage2/model of a study.

    Raises UserError for a folder that is no complete model, and where torch is not installed.
    """
    try:
        from vlmscale.models.checkpoint import load
    except ModuleNotFoundError as error:
        raise require_extra(error, "load_model") from None
    return load(Path(folder))
