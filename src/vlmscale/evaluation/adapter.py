"""Let lmms-eval question a vlmscale model folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from PIL import Image, ImageFile
from tqdm import tqdm

from vlmscale.errors import UserError
from vlmscale.evaluation.visual_token_cache import VisualTokenCache
from vlmscale.images import compute_image_key, convert_to_rgb, refuse_other_formats
from vlmscale.models.checkpoint import load
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.vlm_model import VisualTokens
from vlmscale.settings import IMAGE_TOKEN

# Options that some tasks give for other models' adapters.
_FOREIGN = ("until", "image_aspect_ratio")
_SAMPLING = ("temperature", "top_p", "top_k")
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
        refuse_other_formats()
        self.model, self.processor = load(Path(pretrained))
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model.to(self.device).eval()
        self.batch_size = _read_batch_size(batch_size)
        self.features = FeatureStore(Path(features)) if features is not None else None
        self.visual_tokens = VisualTokenCache()

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
        answers: dict[int, str] = {}
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(i)
        with tqdm(total=len(requests), desc="questions") as bar:
            for members in groups.values():
                members.sort(key=lambda i: -len(requests[i].args[0]))
                for start in range(0, len(members), self.batch_size):
                    batch = members[start : start + self.batch_size]
                    answers |= zip(batch, self._answer([requests[i] for i in batch]), strict=True)
                    bar.update(len(batch))
        return [answers[i] for i in range(len(requests))]

    def _answer(self, requests: list[Instance]) -> list[str]:
        images = [self._read_image(request) for request in requests]
        questions = [request.args[0].replace(IMAGE_TOKEN, "").strip() for request in requests]
        inputs = self.processor.ask(images, questions, pixels=False).to(self.device)
        if given := [image for image in images if image is not None]:
            if self.processor.reads_question:
                inputs |= self._vision_inputs(given)
            else:
                inputs["visual"] = self._encode(given)
        settings = dict(requests[0].args[1])
        until = settings.get("until") or []
        for key, several in (("num_beams", "beams"), ("num_return_sequences", "answers")):
            if settings.pop(key, None) not in (None, 1):
                raise UserError(
                    f"{requests[0].args[4]}: the task searches with several {several}, but one greedy "
                    f"answer is scored. Set {key} to 1 in its generation_kwargs, or leave the task out."
                )
        for key in (*_FOREIGN, *(() if settings.get("do_sample") else _SAMPLING)):
            settings.pop(key, None)
        settings.setdefault("max_new_tokens", _DEFAULT_NEW_TOKENS)
        output = self.model.generate(**inputs, **settings)
        texts = self.processor.decode_answers(inputs, output)
        return [_cut_at(text, until).strip() for text in texts]

    def _read_image(self, request: Instance) -> Image.Image | None:
        """Return the image of a question. Raises UserError if it does not decode, or there are several."""
        _, _, doc_to_visual, doc_id, task, split = request.args
        where = f"{task}, question {doc_id}"
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # which importing lmms-eval's tasks turns on
        try:
            doc = self.task_dict[task][split][doc_id]  # decodes images
        except Exception as error:
            raise UserError(
                f"{where}: its image cannot be read ({error}). Correct the dataset, or leave the task out."
            ) from error
        # Tasks convert images to RGB by Pillow, which would cut off 16 bits at 255.
        deep = {
            key: convert_to_rgb(value)
            for key, value in doc.items()
            if isinstance(value, Image.Image) and value.mode.startswith("I")
        }
        visuals = doc_to_visual({**doc, **deep})
        if len(visuals) > 1:
            raise UserError(
                f"{where}: {len(visuals)} images, but the model reads one. Leave the task out."
            )
        if visuals and not isinstance(visuals[0], Image.Image):
            raise UserError(
                f"{where}: shows a {type(visuals[0]).__name__}, but the model reads one image. "
                "Leave the task out."
            )
        return visuals[0] if visuals else None

    def _vision_inputs(self, images: Sequence[Image.Image]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for `images`: pixels or stored features."""
        if self.features is None:
            return {"pixel_values": self.processor.to_pixels(images).to(self.device)}
        stored = [self.features.get(compute_image_key(image)) for image in images]
        return {"vision_features": torch.stack(stored).to(self.device)}

    def _encode(self, images: Sequence[Image.Image]) -> VisualTokens:
        """Return visual tokens, cached or encoded, for a projector that reads no question."""
        encode = self.model.model.encode_images
        return self.visual_tokens.get_or_encode(
            [compute_image_key(image) for image in images],
            lambda positions: encode(**self._vision_inputs([images[i] for i in positions])),
        )


def _read_batch_size(value: int | str) -> int:
    if not str(value).isdecimal() or int(value) < 1:
        raise UserError(
            f"batch_size is {value!r}, but it must be a number from 1: how many questions are answered at "
            "once. Name one that fits the GPU's memory."
        )
    return int(value)


def _cut_at(text: str, until: list[str] | str) -> str:
    for stop in [until] if isinstance(until, str) else until:
        if stop:
            text = text.split(stop)[0]
    return text
