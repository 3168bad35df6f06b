"""A model folder opens whole, runs no code of its own, or is refused by one message."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import lookalikes
from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import assemble, load, load_tower
from vlmscale.training.stages import save_checkpoint


@pytest.fixture(scope="module")
def saved(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_checkpoint(*build("tokenpacker", 4), folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a model folder without checksums, as one from elsewhere."""
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "checksums.json").unlink(missing_ok=True)
    return tmp_path / "model"


def edit(file, **changes):
    """Change keys of a JSON file; None removes one."""
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def edit_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def open_backbones(llm, tower):
    setting = find_method("tokenpacker").make_setting(4)
    return assemble(llm, tower, setting, feature_layers=[1, 2, 3], template="qa", seed=0)


FUZZ = {
    "empty config": lambda f: (f / "config.json").write_text(""),
    "config of a list": lambda f: (f / "config.json").write_text("[]"),
    "config of no model type": lambda f: edit(f / "config.json", model_type=None),
    "config of an unknown model type": lambda f: edit(f / "config.json", model_type="unheard"),
    "config of another model": lambda f: edit(f / "config.json", model_type="llava"),
    "config of a text model": lambda f: edit(f / "config.json", model_type="qwen2"),
    "unknown method": lambda f: edit(f / "config.json", method="unheard"),
    "method of a path": lambda f: edit(f / "config.json", method="../x"),
    "wrong option": lambda f: edit(f / "config.json", method_options={"query_resize": "unheard"}),
    "no options": lambda f: edit(f / "config.json", method_options={}),
    "impossible count": lambda f: edit(f / "config.json", visual_tokens=5),
    "count of a text": lambda f: edit(f / "config.json", visual_tokens="four"),
    "negative count": lambda f: edit(f / "config.json", visual_tokens=-4),
    "layers of a text": lambda f: edit(f / "config.json", vision_feature_layer="last"),
    "fewer layers": lambda f: edit(f / "config.json", vision_feature_layer=[1]),
    "no tower": lambda f: edit(f / "config.json", vision_config=None),
    "another width": lambda f: edit(
        f / "config.json",
        text_config=json.loads((f / "config.json").read_text())["text_config"]
        | {"hidden_size": 48},
    ),
    "more layers": lambda f: edit(
        f / "config.json",
        text_config=json.loads((f / "config.json").read_text())["text_config"]
        | {"num_hidden_layers": 3, "layer_types": None},
    ),
    "truncated weights": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:-9]
    ),
    "weights of text": lambda f: (f / "model.safetensors").write_text("weights"),
    "no tensor": lambda f: save_file({}, f / "model.safetensors", metadata={"format": "pt"}),
    "tensor missing": lambda f: edit_tensors(f / "model.safetensors", lambda t: t.popitem()),
    "tensor of another shape": lambda f: edit_tensors(
        f / "model.safetensors",
        lambda t: t.update({"model.multi_modal_projector.mlp.0.weight": torch.zeros(3, 3)}),
    ),
    "tensor of no numbers": lambda f: edit_tensors(
        f / "model.safetensors",
        lambda t: t["model.multi_modal_projector.mlp.0.weight"].fill_(torch.nan),
    ),
    "infinite tensor": lambda f: edit_tensors(
        f / "model.safetensors",
        lambda t: t["model.vision_tower.encoder.layers.0.mlp.fc1.bias"].fill_(torch.inf),
    ),
    "index of absent files": lambda f: (f / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"x": "absent.safetensors"}})
    ),
    "index without a map": lambda f: (f / "model.safetensors.index.json").write_text("{}"),
    "empty tokenizer": lambda f: (f / "tokenizer.json").write_text(""),
    "tokenizer of another form": lambda f: (f / "tokenizer.json").write_text('{"model": 3}'),
    "binary tokenizer": lambda f: (f / "tokenizer.json").write_bytes(bytes(range(256))),
    "empty processor": lambda f: (f / "processor_config.json").write_text(""),
    "another processor": lambda f: edit(
        f / "processor_config.json", processor_class="LlavaProcessor"
    ),
    "processor of an unknown class": lambda f: edit(
        f / "processor_config.json", processor_class="UnheardProcessor"
    ),
    "image processor of an unknown class": lambda f: edit(
        f / "processor_config.json", image_processor={"image_processor_type": "Unheard"}
    ),
}


@pytest.mark.parametrize("damage", FUZZ)
def test_a_damaged_model_folder_is_one_error(folder, damage):
    FUZZ[damage](folder)
    with pytest.raises(UserError, match=r"model") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_an_undamaged_folder_opens(folder):
    model, processor = load(folder)
    assert processor.visual_tokens == 4
    assert model.config.method == "tokenpacker"


@pytest.mark.parametrize("part", ["llm", "tower"])
@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.popitem(),
        lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(2, 2)}),
        lambda tensors: next(iter(tensors.values())).fill_(torch.nan),
    ],
)
def test_a_backbone_without_each_of_its_tensors_is_refused(backbones, tmp_path, part, change):
    for name, source in backbones.items():
        shutil.copytree(source, tmp_path / name)
    edit_tensors(tmp_path / part / "model.safetensors", change)
    with pytest.raises(UserError, match=rf"{part}"):
        open_backbones(tmp_path / "llm", tmp_path / "tower")


CODE = """
from pathlib import Path
Path({proof!r}).write_text("ran")
from transformers import PretrainedConfig, Qwen2ForCausalLM, CLIPImageProcessor, PreTrainedTokenizerFast
class Config(PretrainedConfig):
    model_type = "unheard"
class Model(Qwen2ForCausalLM):
    config_class = Config
class Images(CLIPImageProcessor):
    pass
class Processor:
    pass
"""
AUTO = {
    "AutoConfig": "code.Config",
    "AutoModelForCausalLM": "code.Model",
    "AutoModelForImageTextToText": "code.Model",
    "AutoImageProcessor": "code.Images",
    "AutoProcessor": "code.Processor",
    "AutoTokenizer": ["code.Tokenizer", None],
}


@pytest.mark.parametrize(
    ("part", "file"),
    [
        ("llm", "config.json"),
        ("llm", "tokenizer_config.json"),
        ("tower", "config.json"),
        ("tower", "preprocessor_config.json"),
        ("model", "config.json"),
        ("model", "processor_config.json"),
        ("model", "tokenizer_config.json"),
    ],
)
@pytest.mark.parametrize("other_type", [True, False])
def test_code_in_a_folder_never_runs(
    folder, backbones, tmp_path, monkeypatch, part, file, other_type
):
    """Not even where somebody answers "y" to every question."""
    monkeypatch.setattr("builtins.input", lambda *args: "y")
    folders = {"model": folder}
    for name, source in backbones.items():
        folders[name] = tmp_path / name
        shutil.copytree(source, folders[name])
    proof = tmp_path / "proof"
    (folders[part] / "code.py").write_text(CODE.format(proof=str(proof)))
    changes = {"auto_map": AUTO}
    if other_type:
        kinds = ("model_type", "processor_class", "tokenizer_class", "image_processor_type")
        present = json.loads((folders[part] / file).read_text()).keys()
        changes |= {key: "unheard" for key in kinds if key in present}
    edit(folders[part] / file, **changes)
    with suppress(UserError):  # refused is as good as ignored
        if part == "model":
            load(folder)
        else:
            open_backbones(folders["llm"], folders["tower"])
            load_tower(folders["tower"])
    assert not proof.exists()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_of_a_model_are_as_readable_as_the_umask_says(build, tmp_path, mask):
    before = os.umask(mask)
    try:
        save_checkpoint(*build("mlp", 36), tmp_path / "model")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == 0o666 & ~mask
    assert set(modes.values()) == {0o666 & ~mask}


def test_the_card_in_a_folder_opens_it(saved, images, tmp_path):
    """Its Python block, word by word, in a process of its own."""
    card = (saved / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    images[0].save(tmp_path / "scene.png")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("this folder", str(saved))],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "tokenpacker at 4 visual tokens" in card


def test_answers_end_where_the_template_ends_them(backbones, tmp_path):
    """Also for an LLM whose tokenizer names another token as its end."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = lookalikes.qwen(tmp_path / "llm")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    Qwen2ForCausalLM(
        Qwen2Config(**shape, num_attention_heads=2, vocab_size=len(tokenizer))
    ).save_pretrained(tmp_path / "llm")

    def stops(template):
        setting = find_method("mlp").make_setting(36)
        model, _ = assemble(
            tmp_path / "llm",
            backbones["tower"],
            setting,
            feature_layers=[3],
            template=template,
            seed=0,
        )
        return model.generation_config.eos_token_id

    end, text = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert stops("qwen") == end
    edit(tmp_path / "llm" / "tokenizer_config.json", eos_token="<|endoftext|>")
    assert stops("qwen") == [end, text]
    with pytest.raises(
        UserError, match=r"template vicuna_v1 ends answers with </s>.*not one token"
    ):
        stops("vicuna_v1")
