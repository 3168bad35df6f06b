"""MMMU without luck, and with one image for each question (see mmmu_val.yaml)."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from lmms_eval.tasks._task_utils import mmmu_mcq_utils
from lmms_eval.tasks.mmmu import utils
from lmms_eval.tasks.mmmu.utils_group_img import process_images
from PIL import Image

NOTHING = ""  # in place of an option
# The parser's `random.choice` is where it ends up when it has found no option.
_NO_LUCK = SimpleNamespace(choice=lambda options: NOTHING)


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """lmms-eval's own record, with `NOTHING`, which is wrong, for an answer that names no option."""
    with patch.object(mmmu_mcq_utils, "random", _NO_LUCK):
        found = utils.mmmu_process_results(doc, results)
    item = found["mmmu_acc"]
    _, score = utils.evaluate_mmmu([item])
    return {**found, "score": score["acc"], "parsed": item["parsed_pred"][0] != NOTHING}


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    """The image; several are joined as in lmms-eval's task for models that take one, numbered."""
    images = utils.mmmu_doc_to_visual(doc)
    return images if len(images) < 2 else [process_images(images)]
