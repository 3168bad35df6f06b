"""Count the visual tokens that a released VLM is given with each question, as its LLM receives them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from PIL import Image
from tqdm import tqdm

from vlmscale.costs.image_tokens import ImageTokens
from vlmscale.errors import UserError


@dataclass(frozen=True)
class Shown:
    """The images of one question."""

    images: int
    counted: int  # visual tokens in the prompt, markers apart
    expected: int  # what the family's processor makes of these images within the budget


class CountedVlm(lmms):
    """Asks an adapter of lmms-eval one question at a time and counts the visual tokens of each prompt.

    The model's `generate` is where every prompt passes, whatever the adapter does before. `shown` has what
    was counted, by task and number of the question.
    """

    def __init__(self, adapter: Any, tokens: ImageTokens, budget: int) -> None:
        super().__init__()
        self.adapter, self.tokens, self.budget = adapter, tokens, budget
        self.is_simple = adapter.is_simple
        self.task_dict = adapter.task_dict
        self.shown: dict[tuple[str, int], Shown] = {}
        self._image_token = adapter.model.config.image_token_id
        self._passes: list[int] = []
        self._failure: Exception | None = None
        self._generate = adapter.model.generate
        adapter.model.generate = self._count_and_generate

    def clean(self) -> None:
        """Keep the model, which lmms-eval would delete here, for the next task."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise UserError(
            "released VLMs answer by generation only. Choose tasks of type generate_until."
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise UserError("released VLMs answer single questions only. Choose single-round tasks.")

    @torch.inference_mode()
    def generate_until(self, requests: list[Instance]) -> list[Any]:
        """Return the adapter's answer to each request, in order.

        Raises UserError where the model fails: some adapters would score an empty answer instead.
        """
        answers = []
        for request in tqdm(requests, desc="questions"):
            document, task, number = self._identify(request)
            sizes = [image.size for image in self._list_images(request, document)]
            self._passes, self._failure = [], None
            answers += self.adapter.generate_until([request])
            if self._failure is not None:
                raise UserError(
                    f"{task}, question {number}: the model failed ({self._failure!r}). Correct the cause "
                    "and run again; no answer is made up for it."
                ) from self._failure
            if len(self._passes) != 1:
                raise UserError(
                    f"{task}, question {number}: {type(self.adapter).__name__} generated "
                    f"{len(self._passes)} times, so visual tokens cannot be counted. Leave the task out."
                )
            expected = sum(self.tokens.count_tokens(*size, self.budget) for size in sizes)
            self.shown[task, number] = Shown(len(sizes), self._passes[0], expected)
        return answers

    def _identify(self, request: Instance) -> tuple[dict[str, Any], str, int]:
        """Return the row of a question, its task and its number."""
        number, task, split = request.args[3:6]
        return self.task_dict[task][split][number], task, number

    def _list_images(self, request: Instance, document: dict[str, Any]) -> Sequence[Image.Image]:
        """Return the images that the task shows with a question."""
        if self.is_simple:
            return list(request.args[2](document) or [])
        contents = [part for message in request.args[1](document) for part in message["content"]]
        return [part["url"] for part in contents if part["type"] == "image"]

    def _count_and_generate(self, **inputs: Any) -> Any:
        self._passes.append(int((inputs["input_ids"] == self._image_token).sum()))
        try:
            return self._generate(**inputs)
        except Exception as error:  # adapters catch it; generate_until raises it
            self._failure = error
            raise
