"""An image is encoded once for all its questions, with the answers of encoding it each time."""

import io
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from vlmscale.evaluation.adapter import VlmScale
from vlmscale.evaluation.visual_token_cache import VisualTokenCache
from vlmscale.images import compute_image_key
from vlmscale.models.vlm_model import VisualTokens
from vlmscale.training.stages import save_checkpoint


def get(keys, cache, kept=None):
    """Visual tokens of the images, two each and named by value, and the keys that were encoded."""
    encoded = []

    def encode(places):
        encoded.extend(keys[place] for place in places)
        tokens = [float(ord(keys[place])) for place in places for _ in range(2)]
        return VisualTokens(torch.tensor(tokens)[:, None], kept and torch.tensor(kept(places)))

    return cache.get_or_encode(keys, encode), encoded


def test_encodes_each_image_once_and_keeps_the_order():
    cache = VisualTokenCache()
    visual, encoded = get("aba", cache)
    assert encoded == ["a", "b"]
    assert visual.tokens[:, 0].tolist() == [97, 97, 98, 98, 97, 97]
    visual, encoded = get("cb", cache)
    assert encoded == ["c"]
    assert visual.tokens[:, 0].tolist() == [99, 99, 98, 98]
    assert visual.present is None


def test_caches_which_tokens_are_present():
    cache = VisualTokenCache()
    kept = lambda places: [x for place in places for x in (True, place > 0)]  # noqa: E731
    get("ab", cache, kept)
    visual, encoded = get("ba", cache, kept)
    assert encoded == []
    assert visual.present.tolist() == [True, True, True, False]


def test_drops_the_oldest_images_beyond_the_limit():
    cache = VisualTokenCache(limit=16)  # two images of two tokens of four bytes
    visual, _ = get("abc", cache)
    assert visual.tokens[:, 0].tolist() == [97, 97, 98, 98, 99, 99]
    assert get("bc", cache)[1] == []
    assert get("a", cache)[1] == ["a"]


@pytest.mark.parametrize(
    "method", ["tokenpacker", "quecc", "prumerge", "random", "fastv", "cdpruner", "tome", "dart"]
)
def test_answers_equal_those_without_a_cache(build, splits, tmp_path, monkeypatch, method):
    rows = pq.read_table(splits["test"] / "exist.parquet").to_pylist()
    images = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows[:2]]
    model, processor = build(method, 4)
    with torch.no_grad():
        for weight in model.model.language_model.layers.parameters():
            weight.mul_(10)  # else every answer is the same
    save_checkpoint(model, processor, tmp_path / "model")
    docs = {"task": {"test": [{"image": images[i % 2]} for i in range(4)]}}

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
            SimpleNamespace(
                args=(f"line {1 + i} ?", settings, lambda doc: [doc["image"]], i, "task", "test")
            )
            for i in range(4)
        ]
        return adapter.generate_until(requests), sum(encoded)

    assert len({compute_image_key(image) for image in images}) == 2
    together, encodings = answers(2)
    assert encodings == (4 if processor.reads_question else 2)
    alone, encodings = answers(1, limit=0)
    assert encodings == 4
    assert together == alone
    assert len(set(together)) > 1
