"""Pickled weights become safetensors, to the bit; what is not weights is never run. No network."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.support import lookalikes
from vlmscale.data.hub import fetch_backbone
from vlmscale.errors import UserError
from vlmscale.models import convert as module
from vlmscale.models.checkpoint import check_folder, load_tokenizer
from vlmscale.models.convert import convert
from vlmscale.settings import Released

VICUNA = Released(
    repository="lmsys/vicuna-7b-v1.5", revision="3321f76e3f527bd14065daf69dad9344000a201d", architecture="Vicuna-7B"
)  # fmt: skip
PLANNED = {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 11008}
SHARDS = lookalikes.SHARDS
PROBE = ["USER: How many?\nTwo.", "A red  circle é 漢", *lookalikes.SENTENCES]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A tiny LLM of 16 bits as Vicuna was released: its folder, itself, its weights."""
    folder = tmp_path_factory.mktemp("hub") / "vicuna"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    vocabulary = lookalikes.spm_model().get_piece_size()
    llm = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2, vocab_size=vocabulary))
    weights = lookalikes.released_vicuna(folder, llm.half())
    return folder, llm, weights


@pytest.fixture
def hub(released, tmp_path, monkeypatch):
    """The repository on a hub; its config.json says the planned shape. hub.patterns: what was asked for."""
    served = shutil.copytree(released[0], tmp_path / "served")
    config = json.loads((served / "config.json").read_text())
    changed = {**config, **PLANNED, "num_attention_heads": 32, "num_key_value_heads": 32}
    (served / "config.json").write_text(json.dumps({**changed, "vocab_size": 32000}))

    def snapshot_download(repository, *, allow_patterns, local_dir, **_):
        hub.patterns += allow_patterns
        local_dir.mkdir(exist_ok=True)
        for file in served.iterdir():
            if any(file.match(pattern) for pattern in allow_patterns):
                shutil.copy(file, local_dir)

    hub = type("Hub", (), {"patterns": [], "folder": served})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return hub


@pytest.fixture
def places(tmp_path):
    return {
        "folder": tmp_path / "backbones/llm",
        "record": tmp_path / "backbones/llm.json",
        "work": tmp_path / "work",
    }


@pytest.fixture
def fetched(released, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(released[0], tmp_path / "fetched")


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_pickled_llm_is_fetched_as_safetensors(hub, places, released):
    fetch_backbone(VICUNA, **places, pickled=True)
    folder, (source, _, weights) = places["folder"], released
    check_folder(folder, "tokenizer.json")
    assert not [file.name for file in folder.iterdir() if "pytorch_model" in file.name]
    found = load_file(folder / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    converted = json.loads(places["record"].read_text())["converted"]
    assert converted["read"] == {n: sha256(source / n) for n in (*SHARDS, "tokenizer.model")}
    made = ("model.safetensors", "tokenizer.json")
    assert converted["written"] == {name: sha256(folder / name) for name in made}
    assert not places["work"].exists()


def test_the_converted_folder_is_the_model_and_its_tokenizer(released, tmp_path, monkeypatch):
    folder, llm, _ = released
    monkeypatch.setattr(module, "_SHARD", 3000)  # bytes: several files and an index
    made = tmp_path / "made"
    convert(folder, made, "weights", "tokenizer")
    assert len(list(made.glob("*.safetensors"))) > 2
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        shutil.copy(folder / name, made)
    check_folder(made, "tokenizer.json")
    ids = torch.arange(12)[None]
    loaded = AutoModelForCausalLM.from_pretrained(made)
    assert torch.equal(loaded(ids).logits, llm(ids).logits)
    tokenizer, spm = load_tokenizer(made), lookalikes.spm_model()
    for text in PROBE:
        assert tokenizer(text)["input_ids"] == [spm.bos_id(), *spm.encode(text)]
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<unk>", "</s>")
    as_known = lookalikes.vicuna(tmp_path / "known")
    assert json.loads((made / "tokenizer.json").read_text()) == json.loads(
        (tmp_path / "known/tokenizer.json").read_text()
    )
    assert as_known.bos_token == tokenizer.bos_token


def test_unasked_no_pickle_is_fetched(hub, places):
    with pytest.raises(UserError, match=r"pickled ones are not opened unasked.*under `pickled`"):
        fetch_backbone(VICUNA, **places)
    assert not [pattern for pattern in hub.patterns if "bin" in pattern]
    # Not even one that has been fetched before.
    shutil.copy(hub.folder / SHARDS[0], places["work"])
    with pytest.raises(UserError, match="not opened unasked"):
        fetch_backbone(VICUNA, **places)
    assert not places["folder"].exists()


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.slow
def test_a_pickle_that_would_run_code_is_refused_and_does_not(hub, places, tmp_path):
    mark = tmp_path / "ran"
    torch.save({"model.norm.weight": Malice(mark)}, hub.folder / SHARDS[1])
    with pytest.raises(UserError) as caught:
        fetch_backbone(VICUNA, **places, pickled=True)
    assert str(caught.value).count("\n") == 0
    assert f"{SHARDS[1]} is not opened: it would run posix.system; weights need no code" in str(
        caught.value
    )
    assert not mark.exists()
    assert not places["folder"].exists()
    assert not places["record"].exists()
    assert not list(places["folder"].parent.glob(".*"))
    # What has arrived stays; put right, the rest follows.
    assert (places["work"] / SHARDS[0]).exists()


def damage(change):
    return pytest.param(change, id=change.__name__)


def plain_pickle(folder):
    torch.save({"a": torch.ones(1)}, folder / SHARDS[0], _use_new_zipfile_serialization=False)


def truncated(folder):
    whole = (folder / SHARDS[0]).read_bytes()
    (folder / SHARDS[0]).write_bytes(whole[: len(whole) // 2])


def not_a_tensor(folder):
    torch.save({"a": torch.ones(1), "b": [1]}, folder / SHARDS[0])


def no_names(folder):
    torch.save([torch.ones(1)], folder / SHARDS[0])


def absent(folder):
    (folder / SHARDS[0]).unlink()


def elsewhere(folder):
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": f"../{folder.name}/{SHARDS[0]}"}}))


def less_than_the_index_says(folder):
    torch.save({}, folder / SHARDS[0])


WORDS = {
    plain_pickle: f"{SHARDS[0]} is not opened",
    truncated: f"{SHARDS[0]} is not opened",
    not_a_tensor: "'b' is a list, not a tensor",
    no_names: "holds a list, not tensors by name",
    absent: f"{SHARDS[0]} is missing",
    elsewhere: "is missing beside pytorch_model.bin.index.json",
    less_than_the_index_says: "which none of its files has",
}


@pytest.mark.parametrize("change", [damage(change) for change in WORDS])
def test_what_is_not_whole_weights_is_refused(fetched, tmp_path, change):
    change(fetched)
    with pytest.raises(UserError, match=WORDS[change]):
        convert(fetched, tmp_path / "made", "weights")


def test_tensors_that_share_memory_are_all_kept(tmp_path):
    tied = torch.rand(3, 2)
    folder = tmp_path / "fetched"
    folder.mkdir()
    torch.save({"embedding": tied, "head": tied, "turned": tied.T}, folder / "pytorch_model.bin")
    convert(folder, tmp_path / "made", "weights")
    found = load_file(tmp_path / "made/model.safetensors")
    assert found.keys() == {"embedding", "head", "turned"}
    assert torch.equal(found["head"], tied)
    assert torch.equal(found["turned"], tied.T)


def test_a_tokenizer_that_is_there_is_kept(hub, places):
    (hub.folder / "tokenizer.json").write_text('{"own": 1}')
    for file in hub.folder.glob("*.bin"):
        file.unlink()
    (hub.folder / "model.safetensors").write_text("whole")
    fetch_backbone(VICUNA, **places, pickled=True)
    assert (places["folder"] / "tokenizer.json").read_text() == '{"own": 1}'
    assert "converted" not in json.loads(places["record"].read_text())


def test_a_tokenizer_of_another_kind_is_refused(fetched, tmp_path):
    (fetched / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(UserError, match="for models of type llama, not t5"):
        convert(fetched, tmp_path / "made", "tokenizer")


def test_nowhere_else_is_a_pickle_opened():
    sources = Path(module.__file__).parents[1]
    words = re.compile(r"torch\.load\(|^import pickle|^from pickle|weights_only=False", re.M)
    found = [file.name for file in sources.rglob("*.py") if words.search(file.read_text())]
    assert found == ["convert.py"]
    opened = re.findall(r"torch\.load\(.*?\)", Path(module.__file__).read_text())
    assert len(opened) == 1
    assert "weights_only=True" in opened[0]
