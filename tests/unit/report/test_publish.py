"""Model cards, and what may be passed on."""

import json

import pandas as pd
import pytest
import yaml

from vlmscale.costs.shapes import load_shapes
from vlmscale.errors import UserError
from vlmscale.records.files import atomic_folder, write_json
from vlmscale.records.parquet import write_parquet
from vlmscale.report.card import choose_licence, write_cards
from vlmscale.report.publish import publish

GENERATED = {"kind": "llm"}
QWEN = {"kind": "released", "repository": "Qwen/Qwen1.5-0.5B-Chat", "revision": "0" * 40}
CLIP = {"kind": "released", "repository": "openai/clip-vit-large-patch14-336"}
WORLD = {"licence": "generated, Apache-2.0"}
LLAVA = {"licence": "CC BY 4.0; terms of OpenAI"}
RUN = "Qwen1.5-0.5B__mlp__v144__s0"


def make_study(results, *, llm=GENERATED, tower=GENERATED, data=WORLD):
    """The parts of a finished study that a card and a publication read."""
    for name, record in (("Qwen1.5-0.5B", llm), ("tower", tower)):
        write_json(results / f"backbones/{name}.json", record)
    for stage in ("stage1", "stage2"):
        write_json(results / f"data/{stage}/manifest.json", data)
    stage2 = results / "runs" / RUN / "stage2"
    with atomic_folder(stage2 / "model") as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
        parts = {"text_config": "Qwen1.5-0.5B", "vision_config": "tower"}
        config = {part: {"_name_or_path": f"a/b/{name}"} for part, name in parts.items()}
        (folder / "config.json").write_text(json.dumps(config))
    record = {"kind": "stage2", "method": "mlp", "visual_tokens": 576, "seed": 0, "steps": 10}
    record |= {"llm_parameters": 1000, "projector_parameters": 10, "fingerprint": "abc"}
    write_json(stage2 / "run.json", {**record, "versions": {"vlmscale": "1.0"}})
    row = {"cell": "c", "run": RUN, "llm": "Qwen1.5-0.5B", "method": "mlp", "visual_tokens": 576}
    rows = [
        {**row, "benchmark": name, "family": "reasoning", "score": score, "n": 100}
        for name, score in (("gqa", 0.5), ("pope", 1.0), ("mean", 0.75))
    ]
    write_parquet(results / "errors.parquet", pd.DataFrame(rows), {})
    write_parquet(results / "samples.parquet", pd.DataFrame({"question": ["secret"]}), {})
    return stage2


def read_card(stage2, results):
    shapes = {"Qwen1.5-0.5B": load_shapes()["Qwen1.5-0.5B"]}
    errors = pd.read_parquet(results / "errors.parquet")
    write_cards(results, "s", errors, shapes=shapes, tower=load_shapes()["CLIP-ViT-L/14-336"])
    text = (stage2 / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_a_card_has_scores_cost_and_how_to_load(tmp_path):
    head, body = read_card(make_study(tmp_path), tmp_path)
    assert head["license"] == "apache-2.0"
    assert "base_model" not in head
    scores = {
        one["dataset"]["name"]: one["metrics"][0]["value"]
        for one in head["model-index"][0]["results"]
    }
    assert scores == {"gqa": 0.5, "pope": 1.0}
    for words in ("576 visual tokens", "0.402 to 0.598", "GFLOPs", "vs.load_model", "code abc"):
        assert words in body


@pytest.mark.parametrize(
    ("llm", "tower", "data", "licence", "words"),
    [
        (GENERATED, GENERATED, WORLD, "apache-2.0", "for any use"),
        (QWEN, CLIP, LLAVA, "other", "For research only"),
        (QWEN, CLIP, WORLD, "other", "not for commercial use"),
        (GENERATED, CLIP, WORLD, "apache-2.0", "clip-vit-large-patch14-336: mit"),
        (GENERATED, GENERATED, LLAVA, "other", "For research only"),
    ],
)
def test_the_licence_is_what_backbones_and_data_leave(llm, tower, data, licence, words):
    found = choose_licence({"llm": llm, "tower": tower}, [WORLD, data])
    assert found.known
    assert found.front_matter["license"] == licence
    assert words in found.text


def test_publishes_a_model_with_its_card(tmp_path):
    stage2 = make_study(tmp_path / "s")
    read_card(stage2, tmp_path / "s")
    for given in (stage2, stage2 / "model"):
        output = tmp_path / given.name
        files = publish(given, output)
        expected = ["README.md", "checksums.json", "config.json", "model.safetensors", "run.json"]
        assert files == expected
        assert (output / "model.safetensors").read_bytes() == b"weights"


def test_publishes_tables_without_questions(tmp_path):
    make_study(tmp_path / "s")
    assert publish(tmp_path / "s", tmp_path / "out") == [
        "README.md",
        "checksums.json",
        "errors.parquet",
    ]
    _, head, body = (tmp_path / "out/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["configs"] == [
        {"config_name": "errors", "data_files": "errors.parquet"}
    ]
    assert "1 trained and evaluated cells" in body


def damage(stage2):
    (stage2 / "model/model.safetensors").write_bytes(b"weightz")


def remove_card(stage2):
    (stage2 / "README.md").unlink()


def damage_card(stage2):
    text = (stage2 / "README.md").read_text()
    (stage2 / "README.md").write_text(text.replace("0.500", "0.900"))


def damage_record(stage2):
    text = (stage2 / "run.json").read_text()
    (stage2 / "run.json").write_text(text.replace('"steps": 10', '"steps": 90'))


def add_code(stage2):
    (stage2 / "model/modeling.py").write_text("import os")


def add_folder(stage2):
    (stage2 / "model/notes").mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (add_code, "holds modeling.py, which the study has not written"),
        (add_folder, "holds notes, which the study has not written"),
        (
            lambda stage2: (stage2 / "model/checksums.json").unlink(),
            "checksums.json cannot be read",
        ),
        (damage, "model.safetensors is damaged"),
        (remove_card, "README.md is missing"),
        (damage_card, "README.md is damaged"),
        (damage_record, "run.json is damaged"),
    ],
)
def test_refuses_a_model_that_is_not_whole(tmp_path, spoil, words):
    stage2 = make_study(tmp_path / "s")
    read_card(stage2, tmp_path / "s")
    spoil(stage2)
    with pytest.raises(UserError, match=words):
        publish(stage2, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spoil", [lambda c: c[:-200], lambda c: b"", lambda c: c[:9] + b"x" + c[10:]]
)
def test_refuses_tables_that_are_damaged(tmp_path, spoil):
    make_study(tmp_path / "s")
    table = tmp_path / "s/laws.parquet"
    write_parquet(table, pd.DataFrame({"alpha": [0.07]}), {})
    table.write_bytes(spoil(table.read_bytes()))
    with pytest.raises(UserError, match=r"laws\.parquet is damaged"):
        publish(tmp_path / "s", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refuses_what_no_licence_is_known_for(tmp_path):
    stage2 = make_study(tmp_path / "s", llm={**QWEN, "repository": "someone/some-llm"})
    head, body = read_card(stage2, tmp_path / "s")
    assert head["license"] == "unknown"
    assert "must not be passed on" in body
    with pytest.raises(UserError, match="licence of someone/some-llm is not known"):
        publish(stage2, tmp_path / "out")


def test_refuses_other_folders_and_an_output_that_exists(tmp_path):
    with pytest.raises(UserError, match="neither a trained model"):
        publish(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="exists"):
        publish(tmp_path, tmp_path)
