"""A damaged input is named before any step is taken, whatever it is; nothing is learned from it."""

import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from vlmscale.errors import UserError
from vlmscale.records.files import atomic_folder
from vlmscale.records.signature import UNSIGNED, sign
from vlmscale.training.backbones import train_llm
from vlmscale.training.features import encode_images
from vlmscale.training.spec import FeaturesSpec, LlmSpec
from vlmscale.training.stages import train_stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(backbones, splits, tmp_path_factory):
    """Inputs of a training as the workflow makes them: {name: path}."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("llm", "tower"):
        with atomic_folder(folder / name) as scratch:
            shutil.copytree(backbones[name], scratch, dirs_exist_ok=True)
    shutil.copytree(splits["stage2"], folder / "data")
    encode_images(
        FeaturesSpec(
            data=folder / "data",
            tower=folder / "tower",
            feature_layers=(1, 2, 3),
            output=folder / "features",
        )
    )
    save_file({"weight": torch.arange(99.0)}, folder / "projector", metadata=UNSIGNED)
    (folder / "projector").write_bytes(sign((folder / "projector").read_bytes()))
    return {name: folder / name for name in ("llm", "tower", "data", "features", "projector")}


def flip(file):
    content = bytearray(file.read_bytes())
    content[-len(content) // 3] ^= 4
    file.write_bytes(content)


def zero(file):
    size = file.stat().st_size
    content = bytearray(file.read_bytes())
    content[size // 2 : size // 2 + 64] = bytes(len(content[size // 2 : size // 2 + 64]))
    file.write_bytes(content)


def swap(file):
    """Exchange two parts, as a copy that lost its order."""
    content, half = file.read_bytes(), file.stat().st_size // 2
    file.write_bytes(content[half:] + content[:half])


FILES = [
    "llm/model.safetensors",
    "llm/config.json",
    "llm/tokenizer.json",
    "llm/checksums.json",
    "tower/model.safetensors",
    "tower/preprocessor_config.json",
    "features/features.npy",
    "features/index.json",
    "projector",
    "data/manifest.json",
]


@pytest.mark.parametrize("damage", [flip, zero, swap, os.remove])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_input_is_named_and_nothing_is_trained(spec, inputs, tmp_path, name, damage):
    place = tmp_path / "inputs"
    shutil.copytree(inputs["llm"].parent, place)
    damage(place / name)
    given = {
        field: place / field
        for field in inputs
        if field in (name, "llm", "tower", "data", "features")
    }
    made = spec("x", **given)
    if (damage, name) == (os.remove, "llm/checksums.json"):
        return  # then nothing is known of the files, as of a folder from elsewhere
    with pytest.raises(UserError, match=f"{name.rpartition('/')[2]}.*(again|anew)"):
        train_stage(made)
    assert not made.paths.work.exists()
    assert not made.record.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_is_named(inputs, splits, tmp_path, name):
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(inputs["llm"], tokenizer)
    flip(tokenizer / name)
    recipe = {"steps": 1, "batch_size": 4, "learning_rate": 1e-3}
    shape = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32, "recipe": recipe}
    paths = {"work": tmp_path / "work", "tensorboard": tmp_path / "tb"}
    made = {"output": tmp_path / "llm", "record": tmp_path / "llm.json", "paths": paths}
    given = {"tokenizer": tokenizer, "data": splits["corpus"]}
    with pytest.raises(UserError, match=rf"tokenizer/{name} is damaged"):
        train_llm(LlmSpec(kind="llm", shape=shape, template="qa", seed=0, **given, **made))
