"""Let lmms-eval question a vlmscale model folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from PIL import Image
from tqdm import tqdm

from vlmscale.data.images import compute_image_key
from vlmscale.errors import UserError
from vlmscale.evaluation.visual_token_cache import VisualTokenCache
from vlmscale.models.checkpoint import load
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.vlm_model import VisualTokens
from vlmscale.settings import IMAGE_TOKEN

# Options that some tasks give for other models' adapters.
_FOREIGN = ("until", "image_aspect_ratio")
_SAMPLING = ("temperature", "top_p", "top_k", "num_beams")
# For tasks that name no limit (TextVQA, VizWiz): their answers are a few words.
_DEFAULT_NEW_TOKENS = 32


class VlmScale(lmms):
    """Greedy generation in batches, padded on the left.

    Encodes an image once for all its questions, unless the projector reads the question.
    pretrained: a model folder. features: a folder of stored tower features of the evaluated images,
    used instead of running the tower.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | Path,
        batch_size: int | str = 1,
        device: str | None = None,
        features: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.model, self.processor = load(Path(pretrained))
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model.to(self._device).eval()
        self.batch_size = int(batch_size)
        self.features = FeatureStore(Path(features)) if features is not None else None
        self.visual_tokens = VisualTokenCache()

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def rank(self) -> int:
        return 0

    @property
    def world_size(self) -> int:
        return 1

    def clean(self) -> None:
        """Keep the model, which lmms-eval would delete here, for the next task."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise UserError(
            "vlmscale models answer by generation only. Choose tasks of type generate_until."
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise UserError("vlmscale models answer single questions only. Choose single-round tasks.")

    @torch.inference_mode()
    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return the answer to each request, in order.

        Requests with equal generation settings share batches, long ones first; tasks may be mixed.
        """
        answers: list[str] = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(i)
        with tqdm(total=len(requests), desc="questions") as bar:
            for members in groups.values():
                members.sort(key=lambda i: -len(requests[i].args[0]))
                for start in range(0, len(members), self.batch_size):
                    batch = members[start : start + self.batch_size]
                    for i, answer in zip(
                        batch, self._answer([requests[i] for i in batch]), strict=True
                    ):
                        answers[i] = answer
                    bar.update(len(batch))
        return answers

    def _answer(self, requests: list[Instance]) -> list[str]:
        images, questions = [], []
        for request in requests:
            context, _, doc_to_visual, doc_id, task, split = request.args
            visuals = doc_to_visual(self.task_dict[task][split][doc_id])
            if len(visuals) > 1:
                raise UserError(
                    f"{task}, question {doc_id}: {len(visuals)} images, but the model "
                    "reads one. Leave the task out."
                )
            images.append(visuals[0] if visuals else None)
            questions.append(context.replace(IMAGE_TOKEN, "").strip())
        inputs = self.processor.ask(images, questions, pixels=False).to(self._device)
        if given := [image for image in images if image is not None]:
            if self.processor.reads_question:
                inputs |= self._vision_inputs(given)
            else:
                inputs["visual"] = self._encode(given)
        settings = dict(requests[0].args[1])
        until = settings.get("until") or []
        for key in (*_FOREIGN, *(() if settings.get("do_sample") else _SAMPLING)):
            settings.pop(key, None)
        settings.setdefault("max_new_tokens", _DEFAULT_NEW_TOKENS)
        output = self.model.generate(**inputs, **settings)
        texts = self.processor.tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return [_cut_at(text, until).strip() for text in texts]

    def _vision_inputs(self, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for `images`: pixels or stored features."""
        if self.features is None:
            return {"pixel_values": self.processor.to_pixels(images).to(self._device)}
        stored = [self.features.get(compute_image_key(image)) for image in images]
        return {"vision_features": torch.stack(stored).to(self._device)}

    def _encode(self, images: Sequence[Image.Image]) -> VisualTokens:
        """Return visual tokens, cached or encoded, for a projector that reads no question."""
        encode = self.model.model.encode_images
        return self.visual_tokens.get_or_encode(
            [compute_image_key(image) for image in images],
            lambda positions: encode(**self._vision_inputs([images[i] for i in positions])),
        )


def _cut_at(text: str, until: list[str] | str) -> str:
    for stop in [until] if isinstance(until, str) else until:
        if stop:
            text = text.split(stop)[0]
    return text
