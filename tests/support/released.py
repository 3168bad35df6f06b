"""All that a study of released models and data fetches, made here in its makers' layouts: kilobytes of it."""

import csv
import json
import shutil
from urllib.parse import urlsplit

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.support import lookalikes
from tests.support.benchmark_cases import CASES
from tests.support.benchmark_files import write
from tests.support.paths import ROOT
from tests.support.upstream import TREES, archive, image, mix, pretrain, record
from vlmscale.evaluation.spec import read_benchmarks

# What the LLMs answer: words that benchmarks know, each of them one token.
ANSWERS = ["Yes", "No", "yes", "no", "A", "B", "cat", "dog", "2", "Acme", "nokia", "unanswerable"]
# CLIP's own, in the form it has had since 2022.
PREPROCESSOR = {
    "crop_size": 56,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 56,
}
# Conversations in which nothing is odd, half of them about an image: of a thousand samples one may be lost.
PLAIN = 1010


def backbones(study, folder):
    """A repository below `folder` for every backbone of a study, tiny and random; what
    they change of the configs in src/vlmscale/resources/backbones, by name.
    """
    shapes = {study["tower"]["architecture"]: _tower(folder / study["tower"]["repository"])}
    for size, llm in enumerate(study["llms"].values(), 1):
        make = _vicuna if "vicuna" in llm["repository"] else _qwen
        shapes[llm["architecture"]] = make(folder / llm["repository"], size)
    return shapes


def _tower(folder):
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    shape |= {"image_size": 56}  # 4 x 4 patches
    text = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    text |= {"num_hidden_layers": 1, "vocab_size": 64, "projection_dim": 8}
    vision = _published("clip-vit-large-patch14-336") | shape
    vision |= {"projection_dim": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    model.config.save_pretrained(folder)
    # As it was released: pickled, in 32 bits, with the places that were once stored.
    places = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    torch.save(model.state_dict() | places, folder / "pytorch_model.bin")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return shape


def _qwen(folder, size):
    tokenizer = lookalikes.qwen(folder, ANSWERS)
    known = _published(folder.name)
    # As released, embeddings have more rows than there are tokens, and the largest LLM's even more.
    shape = _shape(size, 64 * (len(tokenizer) // 64 + 1 + (size > 4)))
    model = Qwen2ForCausalLM(Qwen2Config(**known | shape))
    return _release(model, tokenizer, folder, size, shape)


def _vicuna(folder, size):
    shape = _shape(size, lookalikes.spm_model().get_piece_size())
    torch.manual_seed(size)
    model = LlamaForCausalLM(LlamaConfig(**_published(folder.name) | shape))
    lookalikes.released_vicuna(folder, model.half())
    return shape


def _published(name):
    return json.loads((ROOT / f"src/vlmscale/resources/backbones/{name}.json").read_text())[
        "config"
    ]


def _shape(size, vocabulary):
    width = 8 + 8 * size
    return {
        "num_hidden_layers": 2,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
    }


def _release(model, tokenizer, folder, size, shape):
    """Save in 16 bits, and what is large in several files; beside it what is not to be fetched."""
    _let_it_speak(model, tokenizer, seed=size)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="40KB" if size > 2 else "1GB")
    (folder / "README.md").write_text("not fetched")
    (folder / "modeling.py").write_text("raise SystemExit('remote code')")
    return shape


@torch.no_grad()
def _let_it_speak(model, tokenizer, seed):
    """Give a random LLM weights with which it answers with one of ANSWERS, and stops. Which one depends on
    all that it sees.

    One channel tells answers from all other tokens, and no layer writes to it. The last norm turns it
    round: after a prompt an answer comes, and after an answer the end.
    """
    generator, width = torch.Generator().manual_seed(seed), model.config.hidden_size
    for weights in model.parameters():
        if weights.dim() > 1:
            weights.normal_(0, 2 * width**-0.5, generator=generator)
    words = model.get_input_embeddings().weight
    words.normal_(generator=generator)
    words[:, 0] = 1
    known = [tokenizer.encode(word, add_special_tokens=False) for word in ANSWERS]
    words[[tokens[-1] for tokens in known], 0] = -1
    words[tokenizer.eos_token_id, 0] = 2
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[0] = layer.mlp.down_proj.weight[0] = 0
    model.model.norm.weight[0] = -400
    if not model.config.tie_word_embeddings:
        model.lm_head.weight.copy_(words)


def training_data(folder, url):
    """LLaVA's files where src/vlmscale/resources/datasets.csv says that they are: those on the hub in
    `folder`/repositories, the others on a server at `url`; returns the table with what they are here.
    """
    made = folder / "made"
    pretrain(made, url)
    late = record("late", None, "word " * 3000, "beyond the longest sequence")
    gone = record("gone", "ocr_vqa/images/gone.jpg", "<image>\nwho ?", "nobody knows")
    rare = record("rare", "ocr_vqa/images/0003.jpg", "<image>\nwho ?", "in the second copy")
    shown = [
        record(f"shown{i}", "coco/train2017/1.jpg", "<image>\nwhat ?", "yes")
        for i in range(PLAIN // 2)
    ]
    mix(made, url, text_only=PLAIN // 2, extra=[late, gone, rare, *shown])
    archive(made / "second.zip", {"covers/0003.jpg": image(9)})
    contents = {
        ("llava_pretrain", "records"): "llava_pretrain/captions.json",
        ("llava_pretrain", "."): "llava_pretrain/images.zip",
        ("llava_mix665k", "records"): "llava_mix665k/mix.json",
        **{("llava_mix665k", tree): file for tree, (file, _) in TREES.items()},
    }
    rows = [row for row in _table("datasets.csv") if row["dataset"].startswith("llava_")]
    for row in rows:
        second = row["file"] == "ocr_vqa/ocr_vqa.zip"
        content = "second.zip" if second else contents[row["dataset"], row["holds"]]
        if row["url"].startswith("hf://"):
            repository, _, file = row["url"].removeprefix("hf://").partition("@")
            place = folder / "repositories" / repository / file.partition("/")[2]
        else:
            place = folder / (path := urlsplit(row["url"]).netloc + urlsplit(row["url"]).path)
            row["url"] = f"{url}/{path}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made / content, place)
        counted = {"llava_pretrain": 10, "llava_mix665k": 14 + PLAIN}[row["dataset"]]
        row["count"] = counted if row["holds"] == "records" else ""
        row |= {"mirrors": "", "sha256": "", "bytes": "", "gigabytes": 0.001}
        row["converted_gigabytes"] = 0.001 if row["holds"] == "records" else ""
    return rows


def benchmarks(names, folder):
    """A dataset below `folder` for each of the real benchmarks `names`; their numbers of questions."""
    for asked in read_benchmarks(names):
        if asked.folder(folder).exists():
            continue  # another reading of the same questions
        write(asked, [row for row, _, _ in CASES[asked.benchmark][0]], folder)
    for made in [*folder.rglob("manifest.json"), *folder.rglob("*-arrow")]:  # what fetching makes
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    return {name: len(CASES[name.partition("_")[0]][0]) for name in names}


def resources(folder, *, shapes, files, questions):
    """Rewrite the tables in `folder` so that they know the released things made here."""
    for file in (folder / "backbones").glob("*.json"):
        values = json.loads(file.read_text())
        values["config"] |= shapes.get(values["name"], {})
        file.write_text(json.dumps(values))
    asked = [
        row | {"questions": questions.get(row["benchmark"], row["questions"])}
        for row in _table("benchmarks.csv")
    ]
    for name, rows in (("datasets.csv", files), ("benchmarks.csv", asked)):
        with (folder / name).open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _table(name):
    with (ROOT / "src/vlmscale/resources" / name).open(newline="") as file:
        return list(csv.DictReader(file))
