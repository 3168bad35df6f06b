"""Convert a released backbone: pickled weights to safetensors, a sentencepiece model to tokenizer.json; a
GGUF or ONNX file to a whole folder (convert_packed.py).

Only this module opens pickles, by torch's reader for tensors, in a process of its own:
`python -m vlmscale.models.convert FETCHED MADE weights tokenizer` (or one of the two).
"""

import json
import pickle
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from safetensors import safe_open
from torch import Tensor

from vlmscale.errors import UserError
from vlmscale.jobs.entry import exit_with_message
from vlmscale.models.convert_packed import convert_gguf, convert_onnx
from vlmscale.records.files import read_json
from vlmscale.records.signature import compute_sha256

_INDEX = "pytorch_model.bin.index.json"
_SHARD = "2GB"  # largest safetensors file, and the memory that is needed


def convert(fetched: Path, made: Path, *kinds: str) -> dict[str, dict[str, str]]:
    """Convert `kinds` ("weights", "tokenizer"; "gguf"; "onnx") of the folder `fetched` into `made`.

    Returns the SHA-256 of the files "read" and "written", by name. Raises UserError for a file that is
    missing, damaged or holds anything but tensors, and for a tokenizer that is not Llama's.
    """
    made.mkdir(exist_ok=True)
    read: list[Path] = []
    converters = {
        "weights": _convert_weights,
        "tokenizer": _convert_tokenizer,
        "gguf": convert_gguf,
        "onnx": convert_onnx,
    }
    for kind in kinds:
        read += converters[kind](fetched, made)
    return {"read": _hash_files(read), "written": _hash_files(sorted(made.iterdir()))}


def _convert_weights(fetched: Path, made: Path) -> list[Path]:
    index = fetched / _INDEX
    places = read_json(index)["weight_map"] if index.exists() else {}
    files = [fetched / name for name in sorted(set(places.values())) or ["pytorch_model.bin"]]
    for file in files:
        if file.parent != fetched or not file.is_file():
            raise UserError(f"{file.name} is missing beside {_INDEX}")
    tensors = {name: tensor for file in files for name, tensor in _read_tensors(file)}
    if absent := places.keys() - tensors.keys():
        raise UserError(f"{_INDEX} names {min(absent)}, which none of its files has")
    # Clone tensors that share memory: safetensors would keep only one of them.
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        if place in seen:
            tensors[name] = tensor.clone()
        seen.add(place)
    huggingface_hub.save_torch_state_dict(tensors, made, max_shard_size=_SHARD)
    _check_written(tensors, made)
    return files


def _read_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the memory-mapped tensors of a pickle. Raises UserError when it holds anything else."""
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = _explain_refusal(file) or str(error).strip().partition("\n")[0]
        raise UserError(f"{file.name} is not opened: {reason}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file.name} holds a {type(found).__name__}, not tensors by name")
    for name, value in found.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            raise UserError(f"{file.name}: {name!r} is a {type(value).__name__}, not a tensor")
        yield name, value


def _explain_refusal(file: Path) -> str:
    """Name the code that a pickle would run when opened; "" if it would run none."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError):
        return ""
    return f"it would run {', '.join(sorted(names))}; weights need no code" if names else ""


def _check_written(tensors: dict[str, Tensor], made: Path) -> None:
    """Raise RuntimeError unless the written tensors equal the read ones bit for bit."""
    left = dict(tensors)
    for file in made.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no dictionary)
                written, read = opened.get_tensor(name), left.pop(name)
                same = written.dtype == read.dtype and written.shape == read.shape
                bits = [
                    value.contiguous().reshape(-1).view(torch.uint8) for value in (written, read)
                ]
                if not (same and torch.equal(*bits)):
                    raise RuntimeError(f"{file.name}: {name} differs from what was read")
    if left:
        raise RuntimeError(f"{min(left)} was not written")


def _convert_tokenizer(fetched: Path, made: Path) -> list[Path]:
    """Write Llama's tokenizer.json with the settings of its tokenizer_config.json.

    transformers' own conversion needs a newer protobuf than the locked one.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer
    from transformers.tokenization_utils_base import generate_merges

    kind = read_json(fetched / "config.json").get("model_type")
    if kind != "llama":
        raise UserError(f"a tokenizer.json can be made for models of type llama, not {kind}")
    file, settings = fetched / "tokenizer.model", fetched / "tokenizer_config.json"
    chosen = read_json(settings) if settings.exists() else {}
    try:
        model = SentencePieceProcessor(model_file=str(file))
    except (RuntimeError, OSError) as error:
        raise UserError(f"{file.name} is no sentencepiece model: {error}") from None
    pieces = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    # Sentencepiece merges the piece of the highest score first; ids need not follow scores.
    scores = {piece: model.get_score(i) for piece, i in pieces.items()}
    unmerged = {
        piece
        for piece, i in pieces.items()
        if model.is_control(i) or model.is_unknown(i) or model.is_byte(i) or model.is_unused(i)
    }
    LlamaTokenizer(
        vocab=pieces,
        merges=generate_merges(pieces, scores, unmerged),
        legacy=chosen.get("legacy", True),
        add_bos_token=chosen.get("add_bos_token", True),
    ).backend_tokenizer.save(str(made / "tokenizer.json"))
    return [file]


def _hash_files(files: list[Path]) -> dict[str, str]:
    return {file.name: compute_sha256(file) for file in files}


if __name__ == "__main__":
    with exit_with_message():
        with redirect_stdout(sys.stderr):  # where transformers prints
            report = convert(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
        sys.stdout.write(json.dumps(report))
