"""Convert a model that comes as one file, GGUF (an LLM) or ONNX (a DINOv2 tower), to transformers' folders.

The readers of both formats are in requirements/real.txt, not in the lock: nothing else needs them.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from vlmscale.errors import UserError

Arrays = dict[str, NDArray[Any]]

# As DINOv2 was trained and released: the values that no shape of a tensor tells.
_DINOV2 = {
    "model_type": "dinov2",
    "architectures": ["Dinov2Model"],
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "layerscale_value": 1.0,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}
_HEAD_WIDTH = 64  # of every DINOv2
_PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 3,  # bicubic
    "rescale_factor": 1 / 255,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def convert_gguf(fetched: Path, made: Path) -> list[Path]:
    """Write LLM and tokenizer of the GGUF file in `fetched` as an ordinary folder `made`, in float32.

    Returns the file read. Raises UserError without gguf, and for a file that is not one whole LLM.
    """
    _import_reader("gguf")
    (file,) = fetched.glob("*.gguf")
    try:
        read = AutoModelForCausalLM.from_pretrained(
            fetched, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(
            fetched, gguf_file=file.name, trust_remote_code=False
        )
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{file.name} cannot be read: {error}") from None
    # transformers refuses to save a model whose config says that it came from GGUF.
    config = read.config.to_dict()
    config.pop("quantization_config", None)
    with torch.device("meta"):
        fresh = type(read)(type(read.config).from_dict(config))
    fresh.load_state_dict(read.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = read.generation_config
    fresh.save_pretrained(made)
    tokenizer.save_pretrained(made)
    return [file]


def convert_onnx(fetched: Path, made: Path) -> list[Path]:
    """Write the DINOv2 tower of the ONNX file in `fetched` as an ordinary folder `made`, in float32.

    What follows the tower, such as a decoder, is left out. Returns the file read. Raises UserError without
    onnx, and for a file without such a tower.
    """
    onnx = _import_reader("onnx")
    (file,) = fetched.glob("*.onnx")
    try:
        weights = _name_dinov2_weights(onnx.load(file).graph, onnx.numpy_helper.to_array)
        width, _, patch, _ = weights["embeddings.patch_embeddings.projection.weight"].shape
        positions = weights["embeddings.position_embeddings"].shape[1] - 1
        inner = weights["encoder.layer.0.mlp.fc1.bias"].shape[0]
    except (KeyError, ValueError) as error:
        raise UserError(f"{file.name} has no backbone of DINOv2: {error!r}") from None
    size = patch * round(positions**0.5)
    config = {
        **_DINOV2,
        "hidden_size": width,
        "num_attention_heads": width // _HEAD_WIDTH,
        "num_hidden_layers": sum(name.endswith(".norm1.weight") for name in weights),
        "mlp_ratio": inner // width,
        "image_size": size,
        "patch_size": patch,
    }
    save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    (made / "config.json").write_text(json.dumps(config, indent=2))
    sizes = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    (made / "preprocessor_config.json").write_text(json.dumps({**_PREPROCESSOR, **sizes}, indent=2))
    return [file]


def _name_dinov2_weights(graph: Any, to_array: Any) -> Arrays:
    """Return the backbone's weights under the names of its released checkpoint.

    Biases and norms keep their names in the graph. A matrix has the name of the node that multiplies by it,
    and is stored transposed; positions are where the node `embeddings` joins them.
    """
    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    prefix, weights = "backbone.", Arrays()
    for name, value in stored.items():
        if name.startswith(prefix):
            weights[name.removeprefix(prefix)] = value
    positions: dict[str, NDArray[Any]] = {}
    for node in graph.node:
        name = node.name.strip("/").replace("/", ".").removeprefix(prefix)
        given = [stored[key] for key in node.input if key in stored]
        if node.op_type == "MatMul" and given:
            weights[name.removesuffix("MatMul") + "weight"] = np.ascontiguousarray(given[0].T)
        elif name.startswith("embeddings") and node.op_type in ("Concat", "Reshape") and given:
            positions[node.op_type] = given[0]
    cls, patches = positions["Concat"], positions["Reshape"]
    weights["embeddings.position_embeddings"] = np.concatenate([cls, patches], axis=1)
    # Training alone reads it.
    weights["embeddings.mask_token"] = np.zeros_like(cls[0])
    return weights


def _import_reader(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name}, which reads this model's file, is not installed. Install it: "
            "pip install --no-deps -r requirements/real.txt"
        ) from None
