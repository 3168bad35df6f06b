"""Features that the tower stores on the device are the CPU's."""

import pytest
import torch

from tests.gpu.tiny import SIDE, draw
from vlmscale.models.checkpoint import load_tower
from vlmscale.models.feature_store import FeatureStore, write_store
from vlmscale.models.pixels import to_pixels
from vlmscale.models.tower import compute_tower_features


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_they_are_those_of_the_cpu(device, parts, tmp_path, precision, tolerance):
    images = {f"i{number}": draw(number) for number in range(70)}  # more than one batch
    folder = tmp_path / "store"
    write_store(
        parts["tower"],
        images.items(),
        len(images),
        folder,
        feature_layers=[1, 2, 3],
        precision=precision,
    )
    tower, processor = load_tower(parts["tower"])
    pixels = to_pixels(list(images.values()), processor, "pad")
    assert pixels.shape[-1] == SIDE
    expected = compute_tower_features(tower.eval(), pixels, [1, 2, 3])
    store = FeatureStore(folder)
    found = torch.stack([store.get(key) for key in images])
    assert found.dtype == torch.float32
    scale = expected.abs().max().item()
    torch.testing.assert_close(found, expected, atol=tolerance * scale, rtol=0)
    assert (precision == "bf16") != torch.allclose(found, expected, atol=1e-4 * scale)
