"""Released backbones are fetched, checked and recorded; without network."""

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.support.paths import ROOT
from vlmscale.data.hub import fetch_backbone, hide_credentials
from vlmscale.errors import UserError
from vlmscale.study.load import load_study

STUDY = load_study(ROOT / "config/paper.yaml")
QWEN = STUDY.llms["Qwen1.5-0.5B"]
QWEN_CONFIG = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 151936,
}
VISION = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "intermediate_size": 4096,
    "image_size": 336,
    "patch_size": 14,
}
FILES = {
    "config.json": json.dumps(QWEN_CONFIG),
    "model.safetensors": "weights",
    "merges.txt": "a b",
    "tokenizer.json": "{}",
}


@pytest.fixture
def hub(monkeypatch):
    """A hub with these files, which remembers the requests."""

    def snapshot_download(repository, *, repo_type, revision, allow_patterns, local_dir, endpoint):
        hub.requests.append((repository, revision))
        hub.patterns = allow_patterns
        (local_dir / ".cache/huggingface").mkdir(parents=True, exist_ok=True)
        for name, content in hub.files.items():
            if content is None:
                raise LocalEntryNotFoundError("cannot reach the hub, and it is not cached")
            if any(Path(name).match(pattern) for pattern in allow_patterns):
                (local_dir / name).write_text(content)

    hub = type("Hub", (), {"requests": [], "files": dict(FILES)})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return hub


@pytest.fixture
def places(tmp_path):
    return {
        "folder": tmp_path / "backbones/llm",
        "record": tmp_path / "backbones/llm.json",
        "work": tmp_path / "work",
    }


def test_fetches_a_pinned_revision_without_anything_that_runs(hub, places):
    hub.files |= {"pytorch_model.bin": "pickle", "modeling.py": "import os", "README.md": ""}
    fetch_backbone(QWEN, **places)
    assert hub.requests == [("Qwen/Qwen1.5-0.5B-Chat", "4d14e384a4b037942bb3f3016665157c8bcb70ea")]
    assert {file.name for file in places["folder"].iterdir()} == {*FILES, "checksums.json"}
    record = json.loads(places["record"].read_text())
    assert record["revision"] == QWEN.revision
    assert record["files"]["merges.txt"] == 3
    assert not places["work"].exists()


def test_downloads_are_kept_when_the_hub_cannot_be_reached(hub, places):
    hub.files = {"merges.txt": "a b", "model.safetensors": None}
    with pytest.raises(
        UserError, match=r"(?s)Qwen1.5-0.5B-Chat at 4d14.*Fetching needs the network"
    ):
        fetch_backbone(QWEN, **places)
    assert not places["folder"].exists()
    assert not places["record"].exists()
    assert (places["work"] / "merges.txt").exists()
    hub.files = FILES
    fetch_backbone(QWEN, **places)
    assert places["record"].exists()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("model.safetensors", "has no weights as safetensors, and pickled ones are not opened"),
        ("config.json", "has no config.json"),
        ("tokenizer.json", "has neither of tokenizer.json and tokenizer.model"),
    ],
)
def test_a_repository_that_lacks_something_is_refused(hub, places, missing, words):
    del hub.files[missing]
    hub.files["pytorch_model.bin"] = "pickle"
    with pytest.raises(UserError, match=words):
        fetch_backbone(QWEN, **places)
    assert not places["folder"].exists()


def test_another_shape_than_planned_is_refused(hub, places):
    hub.files["config.json"] = json.dumps({**QWEN_CONFIG, "num_hidden_layers": 12})
    with pytest.raises(UserError, match=r"num_hidden_layers is 12 .* but 24 for Qwen1.5-0.5B"):
        fetch_backbone(QWEN, **places)
    assert not places["folder"].exists()


def test_a_tower_is_checked_by_its_vision_config(hub, places):
    text = {"hidden_size": 768, "num_hidden_layers": 12, "vocab_size": 49408}
    for changed, fits in (({}, True), ({"image_size": 224}, False)):
        vision = {**VISION, **changed}
        hub.files["config.json"] = json.dumps({"text_config": text, "vision_config": vision})
        if fits:
            fetch_backbone(STUDY.tower, **places)
        else:
            with pytest.raises(UserError, match="image_size is 224"):
                fetch_backbone(STUDY.tower, **places)


def test_a_tower_of_another_family_is_refused(hub, places):
    """SigLIP2's checkpoints of any resolution have a family of their own."""
    text = {"hidden_size": 768, "num_hidden_layers": 12, "vocab_size": 49408}
    vision = {**VISION, "model_type": "siglip2_vision_model"}
    hub.files["config.json"] = json.dumps({"text_config": text, "vision_config": vision})
    words = r"model_type is siglip2_vision_model .* but clip_vision_model for CLIP-ViT-L/14-336"
    with pytest.raises(UserError, match=words):
        fetch_backbone(STUDY.tower, **places)


def test_an_offline_client_is_explained(places, monkeypatch):
    """The real client, configured as without network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="could not be fetched"):
        fetch_backbone(QWEN, **places)
    assert not places["folder"].exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:s3cret@host/a", "https://host/a"),
        ("https://me:p@s3cret@host", "https://host"),
        ("at 'http://s3cret@h/a?b' and x@y.z", "at 'http://h/a?b' and x@y.z"),
        (
            "https://h/a?X-Amz-Signature=s3cret&Expires=9#c",
            "https://h/a?X-Amz-Signature=***&Expires=***#c",
        ),
        ("https://h/a", "https://h/a"),
    ],
)
def test_credentials_in_addresses_are_hidden(text, shown):
    assert hide_credentials(text) == shown


def test_credentials_in_the_address_of_the_hub_are_refused(places, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:s3cret@host")
    with pytest.raises(
        UserError, match=r"HF_ENDPOINT, https://host, holds credentials\. Set HF_TOKEN"
    ):
        fetch_backbone(QWEN, **places)


def test_credentials_in_an_error_of_the_hub_are_hidden(hub, places, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("Cannot reach http://me:s3cret@proxy:3128/x?token=s3cret")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match="Cannot reach http://proxy:3128") as refusal:
        fetch_backbone(QWEN, **places)
    assert "s3cret" not in str(refusal.value)
