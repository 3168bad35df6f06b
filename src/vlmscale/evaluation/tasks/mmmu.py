"""MMMU without luck, and with one image for each question (see mmmu_val.yaml)."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from lmms_eval.tasks._task_utils import mmmu_mcq_utils
from lmms_eval.tasks.mmmu import utils
from lmms_eval.tasks.mmmu.utils_group_img import concatenate_images_horizontal, resize_image_height
from PIL import Image

NOTHING = ""  # in place of an option
# The parser calls `random.choice` when it has found no option.
_NO_LUCK = SimpleNamespace(choice=lambda options: NOTHING)


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return lmms-eval's own record, with `NOTHING`, which is wrong, for an answer that names no option."""
    with patch.object(mmmu_mcq_utils, "random", _NO_LUCK):
        found = utils.mmmu_process_results(doc, results)
    item = found["mmmu_acc"]
    _, score = utils.evaluate_mmmu([item])
    return {**found, "score": score["acc"], "parsed": item["parsed_pred"][0] != NOTHING}


def doc_to_visual(doc: dict[str, Any]) -> list[Image.Image]:
    """Return the image, several of them side by side at one height: our models read one."""
    images = utils.mmmu_doc_to_visual(doc)
    if len(images) < 2:
        return list(images)
    tallest = max(image.height for image in images)
    return [concatenate_images_horizontal([resize_image_height(i, tallest) for i in images])]
