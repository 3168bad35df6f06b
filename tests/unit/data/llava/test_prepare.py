"""LLaVA's released files, in their own layouts, become a split that training reads."""

import hashlib
import json
import re
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.drills import SAME
from tests.support.splits import read_split
from tests.support.upstream import archive, image, mix, pretrain, record
from vlmscale.errors import UserError
from vlmscale.images import compute_image_key, decode_image


def test_captions_become_a_split(server, run, tmp_path, capsys):
    manifest = run("llava_pretrain", pretrain(server.folder, server.url))
    assert capsys.readouterr().err.startswith("llava_pretrain: about 0 GB to download")
    rows = read_split(tmp_path / "out")
    assert [row["conversations"][1]["value"] for row in rows] == [f"caption {i}" for i in range(10)]
    assert {row["conversations"][0]["value"] for row in rows} == {"<image>\nDescribe it."}
    assert [row["image"]["bytes"] for row in rows] == [image(i) for i in range(10)]
    assert [row["image_key"] for row in rows] == [
        compute_image_key(decode_image(image(i), "here")) for i in range(10)
    ]
    assert manifest["records"] == manifest["rows"] == manifest["images"] == 10
    assert manifest["skipped"] == []
    archive_of = manifest["sources"]["llava_pretrain/images.zip"]
    content = (server.folder / "llava_pretrain/images.zip").read_bytes()
    assert archive_of["sha256"] == hashlib.sha256(content).hexdigest()
    assert archive_of["licence"] == manifest["licence"] == "made up"
    assert archive_of["checked_by"] == "first use"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw", "site"]


def test_the_instruction_mix_is_converted_with_all_its_oddities(server, run, tmp_path):
    manifest = run("llava_mix665k", mix(server.folder, server.url))
    rows = {row["id"]: row for row in read_split(tmp_path / "out")}
    assert list(rows) == [*"123456789", "wgByO4Y_0", "sharegpt"]
    assert [turn["value"] for turn in rows["1"]["conversations"]] == [
        "<image>\nwhat ?", "a", "and ?", "b", "why ?", "c",
    ]  # fmt: skip
    assert rows["1"]["image_key"] == rows["2"]["image_key"]
    assert rows["1"]["image"]["bytes"] == image(1)
    assert rows["wgByO4Y_0"]["image"] is rows["wgByO4Y_0"]["image_key"] is None
    assert len(rows["wgByO4Y_0"]["conversations"][3]["value"].split()) == 3000
    assert manifest["samples_by_source"] == {
        "coco/train2017": 2,
        "gqa/images": 1,
        "ocr_vqa/images": 2,
        "textvqa/train_images": 2,
        "vg/VG_100K": 1,
        "vg/VG_100K_2": 1,
        "text only": 2,
    }
    assert manifest["repaired_images"] == {
        "GIF stored as PNG": 1,
        "mode CMYK stored as RGB": 1,
        "mode I;16 stored as RGB": 1,
        "mode P stored as RGB": 1,
    }
    assert sum(manifest["repaired_conversations"].values()) == 3
    table = pq.read_table(tmp_path / "out/images.parquet").to_pylist()
    assert [row["image"] for row in table][:2] == ["coco/train2017/1.jpg", "gqa/images/7.jpg"]
    assert table[0]["sha256"] == hashlib.sha256(image(1)).hexdigest()
    assert (table[1]["width"], table[1]["height"], table[1]["mode"]) == (32, 24, "CMYK")


@pytest.mark.slow
def test_training_reads_the_split(server, run, tmp_path):
    from transformers import CLIPImageProcessorPil

    from vlmscale.models.checkpoint import load_tokenizer
    from vlmscale.training.backbones import train_tokenizer
    from vlmscale.training.data import Collate, Conversations
    from vlmscale.training.spec import TokenizerSpec

    run("llava_mix665k", mix(server.folder, server.url))
    words = [
        word
        for row in read_split(tmp_path / "out")
        for turn in row["conversations"]
        for word in re.findall(r"\S+", turn["value"])
    ]
    train_tokenizer(TokenizerSpec(words=words, template="qa", output=tmp_path / "tokenizer"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    data = Conversations(
        tmp_path / "out",
        tokenizer,
        template="qa",
        visual_tokens=4,
        query_turn="first",
        max_length=2048,
        apart=False,
        seed=0,
        pixels=lambda images: CLIPImageProcessorPil()(images, return_tensors="pt")["pixel_values"],
    )
    samples = [data[i] for i in range(len(data))]
    assert [sample.id for sample in samples] == [*"123456789", "wgByO4Y_0", "sharegpt"]
    assert [sample.image is None for sample in samples] == [False] * 9 + [True] * 2
    assert len(samples[9].encoded.input_ids) == 2048  # longer ones are cut in training
    batch = Collate(tokenizer, reads_question=False, image_input="pixel_values")(
        samples[:3], np.random.default_rng(0)
    )
    assert len(batch["pixel_values"]) == 3


@pytest.mark.slow
def test_resumes_after_a_kill_in_the_middle_of_an_archive(server, run, tmp_path):
    table = pretrain(server.folder, server.url)
    path = "/llava_pretrain/images.zip"
    server.trouble[path] = lambda times: "stall" if times == 1 else None
    code = (
        "from pathlib import Path; from vlmscale.data.llava.prepare import prepare_dataset; "
        f"prepare_dataset('llava_pretrain', raw=Path('{tmp_path}/raw'), output=Path('{tmp_path}/out'), "
        f"workers=1, table=Path('{table}'))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    part = tmp_path / "raw/llava_pretrain/images.zip.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
        assert child.poll() is None, "ended before it could be killed"
    child.kill()
    child.wait()
    assert not (tmp_path / "raw/llava_pretrain/images.zip").exists()
    manifest = run("llava_pretrain", table)
    assert server.requests[-1][2] is not None  # the rest only
    assert manifest == run("llava_pretrain", table, raw=tmp_path / "raw2", output=tmp_path / "o2")


def lose(n, of):
    """Arguments of `mix`: `n` records whose image is nowhere, `of` in all."""
    lost = [record(f"lost{i}", f"ocr_vqa/images/gone{i}.jpg", "<image>\nq", "a") for i in range(n)]
    return {"extra": lost, "text_only": of - n - 11}


def test_few_lost_samples_are_listed(server, run, tmp_path):
    manifest = run("llava_mix665k", mix(server.folder, server.url, **lose(1, of=1000)))
    assert manifest["skipped"] == [
        {"position": 11, "id": "lost0", "image": "ocr_vqa/images/gone0.jpg", "reason": "missing"}
    ]
    assert manifest["rows"] == manifest["records"] - 1 == 999
    assert "lost0" not in {row["id"] for row in read_split(tmp_path / "out")}


def test_many_lost_samples_are_refused_before_conversion(server, run, tmp_path):
    table = mix(server.folder, server.url, **lose(2, of=1001))
    with pytest.raises(UserError) as refusal:
        run("llava_mix665k", table)
    message = str(refusal.value)
    assert "2 of 1,001 samples are lost, 0.20%; at most 0.1% may be" in message
    assert "ocr_vqa/images: 2 of 4, such as ocr_vqa/images/gone0.jpg: missing" in message
    assert not list(tmp_path.glob("*out*"))
    # The cure that the message names.
    for name in ("gone0", "gone1"):
        file = tmp_path / "raw/own/llava_mix665k/ocr_vqa/images" / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image(3))
    assert run("llava_mix665k", table)["skipped"] == []


def test_images_that_do_not_decode_count_as_lost(server, run, tmp_path, cost_of):
    cost = cost_of("over 0.1 % of the images do not decode, or are missing")
    table = mix(server.folder, server.url)
    archive(server.folder / "vg/images.zip", {"VG_100K/2.jpg": image()[:-200]})
    with pytest.raises(UserError, match=r"vg/VG_100K: 1 of 1, such as .*2\.jpg: does not decode"):
        run("llava_mix665k", table)
    assert not (tmp_path / "out").exists()
    own = tmp_path / "raw/own/llava_mix665k/vg/VG_100K/2.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(image(3))
    cost.change("put the named images into the folder of own images")
    server.requests.clear()
    assert cost.run(SAME, run, "llava_mix665k", table)["skipped"] == []
    cost.lose(sum(asked is None for _, _, asked in server.requests), "downloads")


def test_a_second_archive_is_downloaded_only_for_what_the_first_lacks(server, run, tmp_path):
    table = mix(server.folder, server.url, **lose(2, of=100))
    archive(server.folder / "more/covers.zip", {f"gone{i}.png": image(i) for i in range(2)})
    line = f"llava_mix665k,ocr_vqa/images,more/covers.zip,{server.url}/more/covers.zip,,,,0,,,x\n"
    table.write_text(table.read_text() + line)
    manifest = run("llava_mix665k", table)
    assert manifest["skipped"] == []
    assert "more/covers.zip" in manifest["sources"]
    server.requests.clear()
    for i in range(2):
        own = tmp_path / f"raw2/own/llava_mix665k/ocr_vqa/images/gone{i}.jpg"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(image(i))
    manifest = run("llava_mix665k", table, raw=tmp_path / "raw2", output=tmp_path / "out2")
    assert "more/covers.zip" not in manifest["sources"]
    assert "/more/covers.zip" not in [path for _, path, _ in server.requests]


def test_own_images_replace_archives(server, run, tmp_path):
    table = pretrain(server.folder, server.url)
    for i in range(10):
        own = tmp_path / f"raw/own/llava_pretrain/{i % 3:05d}/{i % 3:05d}{i:04d}.jpg"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(image(i))
    run("llava_pretrain", table)
    assert [path for _, path, _ in server.requests] == ["/llava_pretrain/captions.json"]


def test_archives_that_cannot_be_downloaded_are_named(server, run):
    table = mix(server.folder, server.url)
    (server.folder / "gqa/images.zip").unlink()
    with pytest.raises(UserError, match=r"gqa/images: 1 of 1(?s:.)*gqa/images\.zip: .*answers 404"):
        run("llava_mix665k", table)


def test_paths_that_lead_outside_are_not_followed(server, run, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(image())
    extra = [record("spy", "../../secret.jpg", "<image>\nq", "a")]
    (tmp_path / "raw/own/llava_mix665k").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no known folder: 1 of 1, such as \.\./\.\./secret\.jpg"):
        run("llava_mix665k", mix(server.folder, server.url, extra=extra))


def test_a_limit_downloads_only_what_the_first_records_need(server, run, tmp_path):
    manifest = run("llava_mix665k", mix(server.folder, server.url), limit=2)
    assert manifest["rows"] == 2
    assert {path for _, path, _ in server.requests} == {
        "/llava_mix665k/mix.json",
        "/coco/train2017.zip",
    }


def test_another_number_of_records_is_refused(server, run):
    table = pretrain(server.folder, server.url)
    file = server.folder / "llava_pretrain/captions.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:-1]))
    with pytest.raises(UserError, match="9 records, 10 were expected"):
        run("llava_pretrain", table)


def test_a_folder_with_other_files_is_never_replaced(run, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for output in (mine, mine / "thesis.txt"):
        with pytest.raises(UserError, match=r"exists, holds other files and would be replaced"):
            run("llava_pretrain", None, output=output)
    with pytest.raises(UserError, match="would go when"):
        run("llava_pretrain", None, output=tmp_path / "out", raw=tmp_path / "out/downloads")
    assert (mine / "thesis.txt").read_text() == "years"
