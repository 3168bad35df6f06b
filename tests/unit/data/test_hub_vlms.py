"""Released VLMs are fetched, checked and recorded; without network."""

import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from vlmscale.data.hub_vlms import fetch_vlm
from vlmscale.errors import UserError
from vlmscale.settings.vlms import ReleasedVlm

NEWEST, PINNED = "a" * 40, "b" * 40
TEXT = {
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "intermediate_size": 8960,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151_674,  # with tokens for images, which N does not count
    "tie_word_embeddings": False,
}
FILES = {
    "config.json": json.dumps({"model_type": "internvl", "text_config": TEXT}),
    "model.safetensors": "weights",
    "tokenizer.json": "{}",
    "chat_template.jinja": "{{ x }}",
    "modeling.py": "raise SystemExit",
}


def make_model(**changes):
    given = {"repository": "o/n", "family": "internvl3", "llm": "Qwen2.5-1.5B", "tower": "t"}
    return ReleasedVlm(**{**given, **changes})


@pytest.fixture
def fetch(monkeypatch, tmp_path):
    """fetch(model, **files) -> the record, the names of the files and the revision that was asked for."""
    asked = []

    def fetch_files(model, **changes):
        files = FILES | {name.replace("_json", ".json"): text for name, text in changes.items()}

        def snapshot_download(repository, *, revision, allow_patterns, local_dir, **_):
            asked.append(revision)
            local_dir.mkdir(parents=True)
            for name, content in files.items():
                if content and any(Path(name).match(pattern) for pattern in allow_patterns):
                    (local_dir / name).write_text(content)

        api = SimpleNamespace(model_info=lambda repository: SimpleNamespace(sha=NEWEST))
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda endpoint: api)
        record = tmp_path / "model.json"
        fetch_vlm(model, tmp_path / "model", record, work=tmp_path / "work")
        names = {file.name for file in (tmp_path / "model").iterdir()}
        return json.loads(record.read_text()), names, asked[0]

    return fetch_files


@pytest.mark.parametrize(("revision", "fetched"), [(None, NEWEST), (PINNED, PINNED)])
def test_the_record_names_the_revision_that_was_fetched(fetch, revision, fetched):
    record, names, asked = fetch(make_model(revision=revision))
    assert record["revision"] == asked == fetched
    assert (record["repository"], record["family"]) == ("o/n", "internvl3")
    # With the checksums that are written beside them.
    assert names - {"checksums.json"} == set(record["files"]) == set(FILES) - {"modeling.py"}


@pytest.mark.parametrize(
    ("changes", "files", "words"),
    [
        ({"family": "qwen3_vl"}, {}, "model_type is internvl in its config.json, but models of"),
        (
            {"llm": "Qwen2.5-3B"},
            {},
            "num_hidden_layers of its LLM is 28 in its config.json, but 36",
        ),
        ({}, {"tokenizer_json": ""}, "has no tokenizer.json or tokenizer.model"),
        ({}, {"model.safetensors": ""}, "has no *.safetensors"),
    ],
)
def test_another_model_than_the_study_says_is_refused(fetch, tmp_path, changes, files, words):
    with pytest.raises(UserError) as error:
        fetch(make_model(**changes), **files)
    assert words in str(error.value)
    assert not (tmp_path / "model").exists()


def test_a_config_without_a_part_for_text_is_read(fetch):
    flat = json.dumps({"model_type": "qwen2_5_vl", **TEXT})
    record, _, _ = fetch(make_model(family="qwen2_5_vl"), config_json=flat)
    assert record["llm"] == "Qwen2.5-1.5B"
