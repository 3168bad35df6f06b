"""An image is looked at once, whatever is asked about it; answers are those of looking each time."""

import io
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from vlmscale.data.images import compute_image_key
from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.visual_token_cache import VisualTokenCache
from vlmscale.models.vlm_model import VisualTokens
from vlmscale.training.stages import save_checkpoint


def looked(keys, seen, kept=None):
    """Visual tokens that tell which image they are of, two each, and the keys that were encoded."""
    encoded = []

    def encode(places):
        encoded.extend(keys[place] for place in places)
        tokens = [float(ord(keys[place])) for place in places for _ in range(2)]
        return VisualTokens(torch.tensor(tokens)[:, None], kept and torch.tensor(kept(places)))

    return seen.get_or_encode(keys, encode), encoded


def test_each_image_is_encoded_once_and_comes_where_it_is_asked_for():
    seen = VisualTokenCache()
    visual, encoded = looked("aba", seen)
    assert encoded == ["a", "b"]
    assert visual.tokens[:, 0].tolist() == [97, 97, 98, 98, 97, 97]
    visual, encoded = looked("cb", seen)
    assert encoded == ["c"]
    assert visual.tokens[:, 0].tolist() == [99, 99, 98, 98]
    assert visual.present is None


def test_what_an_image_lacks_is_kept_with_it():
    seen = VisualTokenCache()
    kept = lambda places: [x for place in places for x in (True, place > 0)]  # noqa: E731
    looked("ab", seen, kept)
    visual, encoded = looked("ba", seen, kept)
    assert encoded == []
    assert visual.present.tolist() == [True, True, True, False]


def test_beyond_the_limit_the_oldest_are_forgotten():
    seen = VisualTokenCache(limit=16)  # two images of two tokens of four bytes
    visual, _ = looked("abc", seen)
    assert visual.tokens[:, 0].tolist() == [97, 97, 98, 98, 99, 99]
    assert looked("bc", seen)[1] == []
    assert looked("a", seen)[1] == ["a"]


@pytest.mark.parametrize("method", ["tokenpacker", "quecc", "prumerge", "random", "fastv"])
def test_answers_are_those_of_looking_each_time(build, splits, tmp_path, monkeypatch, method):
    rows = pq.read_table(splits["test"] / "exist.parquet").to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows[:2]]
    model, processor = build(method, 4)
    with torch.no_grad():
        for weight in model.model.language_model.layers.parameters():
            weight.mul_(10)  # else every answer is the same
    save_checkpoint(model, processor, tmp_path / "model")
    asked = [(images[i % 2], f"line {1 + i} ?") for i in range(4)]
    docs = {"task": {"test": asked}}

    def answers(batch_size, limit=1 << 30):
        adapter = VlmScale(tmp_path / "model", batch_size, device="cpu")
        adapter.visual_tokens.limit = limit
        adapter.task_dict = docs
        encoded, encode = [], adapter.model.model.encode_images

        def counted(**inputs):
            encoded.append(len(inputs["pixel_values"]))
            return encode(**inputs)

        monkeypatch.setattr(adapter.model.model, "encode_images", counted)
        settings = {"max_new_tokens": 5, "do_sample": False}
        requests = [
            SimpleNamespace(args=(question, settings, lambda d: [d[0]], i, "task", "test"))
            for i, (_, question) in enumerate(asked)
        ]
        return adapter.generate_until(requests), sum(encoded)

    assert len({compute_image_key(image) for image in images}) == 2
    together, looks = answers(2)
    assert looks == (4 if processor.reads_question else 2)
    alone, looks = answers(1, limit=0)
    assert looks == 4
    assert together == alone
    assert len(set(together)) > 1
