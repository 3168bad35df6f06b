"""A tower out of an ONNX graph, and what is said without the readers. The real files: test_real_parts.py."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.support.towers import write_tower
from vlmscale.errors import UserError
from vlmscale.models.checkpoint import load_tower
from vlmscale.models.convert import convert

PREFIX = "backbone."
POSITIONS = "embeddings.position_embeddings"


def make_graph(weights):
    """A graph as torch exports it: matrices and positions lose their names, and matrices are transposed."""
    stored, nodes = {}, []
    for name, value in weights.items():
        if name == POSITIONS:
            stored |= {"onnx::1": value[:, :1], "onnx::2": value[:, 1:]}
            for kind, inputs in (("Reshape", ["onnx::2", "y"]), ("Concat", ["onnx::1", "x"])):
                nodes.append(
                    SimpleNamespace(
                        op_type=kind, name=f"/backbone/embeddings/{kind}_1", input=inputs
                    )
                )
        elif value.ndim == 2 and name.startswith("encoder"):
            stored[f"onnx::{name}"] = value.T
            path = f"/{PREFIX}{name}".replace(".weight", "/MatMul").replace(".", "/")
            path = path.replace("/layer/", "/layer.")  # of lists, torch writes the index so
            nodes.append(SimpleNamespace(op_type="MatMul", name=path, input=["x", f"onnx::{name}"]))
        elif name != "embeddings.mask_token":
            stored[PREFIX + name] = value
    stored["decoder.weight"] = torch.zeros(3)
    initializer = [
        SimpleNamespace(name=name, value=value.numpy()) for name, value in stored.items()
    ]
    return SimpleNamespace(initializer=initializer, node=nodes)


@pytest.fixture
def onnx(monkeypatch):
    """Stands for the reader; give it a graph."""
    module = ModuleType("onnx")
    module.load = lambda file: SimpleNamespace(graph=module.graph)
    module.numpy_helper = SimpleNamespace(to_array=lambda tensor: tensor.value)
    monkeypatch.setitem(sys.modules, "onnx", module)
    return module


def test_a_tower_comes_out_of_a_graph_as_it_went_in(onnx, tmp_path, monkeypatch):
    monkeypatch.setattr("vlmscale.models.convert_packed._HEAD_WIDTH", 8)  # of the tiny tower
    folder = write_tower("dinov2", tmp_path / "tower", side=48)
    onnx.graph = make_graph(load_file(folder / "model.safetensors"))
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched/x.onnx").write_bytes(b"")
    report = convert(tmp_path / "fetched", tmp_path / "made", "onnx")
    assert set(report["read"]) == {"x.onnx"}
    written = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert set(report["written"]) == written
    (expected, _), (found, processor) = (load_tower(path) for path in (folder, tmp_path / "made"))
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = [
            tower(pixels, output_hidden_states=True).hidden_states for tower in (expected, found)
        ]
    assert len(states[0]) == len(states[1]) == 5
    for mine, theirs in zip(*states, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
    assert processor.size == {"height": 48, "width": 48} or processor.crop_size["height"] == 48


def test_a_graph_without_a_tower_is_refused(onnx, tmp_path):
    onnx.graph = SimpleNamespace(initializer=[], node=[])
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.onnx has no backbone of DINOv2"):
        convert(tmp_path, tmp_path / "made", "onnx")


@pytest.mark.parametrize("name", ["gguf", "onnx"])
def test_a_missing_reader_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    (tmp_path / f"x.{name}").write_bytes(b"")
    with pytest.raises(UserError, match=r"pip install --no-deps -r requirements/real\.txt"):
        convert(tmp_path, tmp_path / "made", name)
