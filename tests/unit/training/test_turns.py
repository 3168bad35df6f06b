"""Turns kept apart in one sequence train as if each question were a sample of its own."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.support.samples import conversations, encode, model_inputs
from vlmscale.data.shards import list_shards
from vlmscale.data.world.questions import list_vocabulary
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import assemble, load_tokenizer
from vlmscale.models.conversation import IGNORED, Encoded, truncate_visual_tokens
from vlmscale.models.processor import pad_batch
from vlmscale.training import data as module
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.data import Collate
from vlmscale.training.spec import TokenizerSpec
from vlmscale.training.stages import train_stage

OPENINGS = {
    "image": "<image>\n",
    "text": "red circle top left , green square top right .\n",
    "image and text": "<image>\nred circle top left .\n",
    "nothing": "",
}
ASKED = {
    "image": [("any red circle ?", "yes"), ("how many ?", "2"), ("red : x circle y square ?", "x")],
    "text": [("shape of red ?", "circle"), ("red left green ?", "yes")],
    "image and text": [("line 1 ?", "A B"), ("letter a1 ?", "A"), ("after A ?", "B")],
    "nothing": [("2 plus 1 ?", "3"), ("r0 of red circle ?", "1"), ("1 plus 1 ?", "2")],
}


def said(pairs, opening=""):
    """A conversation in LLaVA's format; `opening` precedes its first question."""
    turns = []
    for question, answer in pairs:
        turns.append({"from": "human", "value": (opening if not turns else "") + question})
        turns.append({"from": "gpt", "value": answer})
    return turns


@pytest.fixture(scope="module", params=["qa", "qwen"])
def reader(request, study, tmp_path_factory):
    """Template, tokenizer and a random LLM whose weights are large enough to tell contexts apart."""
    folder = tmp_path_factory.mktemp(request.param) / "tokenizer"
    train_tokenizer(
        TokenizerSpec(words=list_vocabulary(study.world), template=request.param, output=folder)
    )
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(0)
    llm = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            initializer_range=0.3,
        )
    )
    return request.param, tokenizer, llm.eval()


def padded(tokenizer, encoded):
    return pad_batch(encoded, [False] * len(encoded), tokenizer, reads_question=False, side="right")


def test_every_turn_has_the_logits_of_a_single_question(reader):
    template, tokenizer, llm = reader
    settings = {"visual_tokens": 3}
    joint = [
        encode(said(ASKED[kind], opening), tokenizer, template, apart=True, **settings)
        for kind, opening in OPENINGS.items()
    ]
    assert len({len(e.input_ids) for e in joint}) > 1, "nothing is padded"
    batch = padded(tokenizer, joint)
    assert batch["attention_mask"].shape == (4, 1, *[batch["input_ids"].shape[1]] * 2)
    with torch.no_grad():
        logits = llm(**batch).logits
    for row, (kind, opening) in enumerate(OPENINGS.items()):
        for number, pair in enumerate(ASKED[kind], 1):
            alone = encode(said([pair], opening), tokenizer, template, **settings)
            own = [i for i, turn in enumerate(joint[row].turns) if turn in (0, number)]
            assert [joint[row].input_ids[i] for i in own] == alone.input_ids
            assert [joint[row].labels[i] for i in own] == alone.labels
            with torch.no_grad():
                expected = llm(**padded(tokenizer, [alone])).logits[0]
            torch.testing.assert_close(logits[row, own], expected, atol=1e-5, rtol=1e-4)
    # The comparison has power: joined turns have other logits.
    joined = encode(said(ASKED["image"], OPENINGS["image"]), tokenizer, template, **settings)
    with torch.no_grad():
        other = llm(**padded(tokenizer, [joined])).logits[0, -1]
    assert not torch.allclose(other, logits[0, len(joint[0].input_ids) - 1], atol=1e-2)


def test_loss_and_gradients_are_those_of_single_questions(reader):
    template, tokenizer, llm = reader
    joint, single = [], []
    for kind, opening in OPENINGS.items():
        asked = ASKED[kind]
        joint.append(encode(said(asked, opening), tokenizer, template, apart=True, visual_tokens=3))
        single += [
            encode(said([pair], opening), tokenizer, template, visual_tokens=3) for pair in asked
        ]
    found = []
    for encoded in (joint, single):
        llm.zero_grad()
        loss = llm(**padded(tokenizer, encoded)).loss
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in llm.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=1e-6)
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_a_cut_sample_keeps_the_turns_of_its_tokens(reader):
    template, tokenizer, _ = reader
    encoded = encode(
        said(ASKED["image"], "<image>\n"), tokenizer, template, apart=True, visual_tokens=3
    )
    assert len(encoded.turns) == len(encoded.input_ids)
    assert encoded.turns == sorted(encoded.turns)
    assert set(encoded.turns) == {0, 1, 2, 3}
    short = encoded.truncate(len(encoded.input_ids) - 4)
    assert len(short.input_ids) == len(short.labels) == len(short.turns)
    assert short.turns == encoded.turns[:-4]
    assert short.labels == encoded.labels[:-4]
    joined = encode(said(ASKED["image"], "<image>\n"), tokenizer, template, visual_tokens=3)
    assert joined.turns is None
    assert joined.truncate(4).turns is None


def test_fewer_visual_tokens_are_those_of_a_shorter_sample(reader):
    template, tokenizer, _ = reader
    turns, image = said(ASKED["image"], "<image>\n"), tokenizer.convert_tokens_to_ids("<image>")
    long, short = (encode(turns, tokenizer, template, apart=True, visual_tokens=v) for v in (5, 2))
    assert truncate_visual_tokens(long, image, 2) == short
    plain = Encoded([image, image, 7], [IGNORED, IGNORED, 7], [1])
    assert truncate_visual_tokens(plain, image, 1).turns is None


def single_questions(splits, processor, dataset, indices):
    """One padded batch in which every question of the samples is a sequence of its own."""
    rows = [r for file in list_shards(splits["stage2"]) for r in pq.read_table(file).to_pylist()]
    encoded, shown, images = [], [], []
    for index in indices:
        turns, image = rows[index]["conversations"], dataset[index].image
        opening = "".join(turns[0]["value"].rpartition("\n")[:2])
        pairs = [
            (human["value"].removeprefix(opening), reply["value"])
            for human, reply in zip(turns[::2], turns[1::2], strict=True)
        ]
        for pair in pairs:
            encoded.append(
                encode(
                    said([pair], opening),
                    processor.tokenizer,
                    "qa",
                    visual_tokens=processor.visual_tokens,
                )
            )
            shown.append(image is not None)
            images += [] if image is None else [image]
    batch = pad_batch(encoded, shown, processor.tokenizer, reads_question=False, side="right")
    return {**batch, "pixel_values": torch.stack(images)}


@pytest.mark.parametrize(("name", "tokens"), [("mlp", 36), ("tokenpacker", 4)])
def test_a_vlm_trains_on_turns_apart_as_on_single_questions(build, splits, name, tokens):
    model, processor = build(name, tokens)
    dataset = conversations(splits["stage2"], processor)
    images = [i for i in range(len(dataset)) if dataset[i].image is not None][:4]
    texts = [i for i in range(len(dataset)) if dataset[i].image is None][:3]
    chosen = sorted([*images, *texts])
    batch = Collate(processor.tokenizer, False, "pixel_values")(
        [dataset[i] for i in chosen], np.random.default_rng(0)
    )
    assert batch["tokens"] == sum(len(dataset[i].encoded.input_ids) for i in chosen)
    single = single_questions(splits, processor, dataset, chosen)
    assert len(single["input_ids"]) > 3 * len(chosen)
    found = []
    for inputs in (model_inputs(batch), single):
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        trained = [*model.model.multi_modal_projector.parameters(), model.lm_head.weight]
        found.append((loss.detach(), [p.grad.clone() for p in trained]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-6, rtol=1e-6)
    for mine, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("turns", ["apart", "joined"])
def test_the_first_loss_of_a_training_is_that_of_single_questions(spec, splits, turns):
    recipe = {"steps": 1, "batch_size": 48, "learning_rate": 1e-3, "turns": turns}
    run = spec("run", recipe=recipe)
    train_stage(run)
    model, processor = assemble(
        run.llm,
        run.tower,
        find_method(run.method).make_setting(run.visual_tokens),
        feature_layers=list(run.feature_layers),
        template="qa",
        seed=run.seed,
    )
    dataset = conversations(splits["stage2"], processor)
    assert len(dataset) == 48  # all of them in one batch
    with torch.no_grad():
        expected = model.eval()(**single_questions(splits, processor, dataset, range(48))).loss
    ((_, loss),) = json.loads(run.record.read_text())["losses"]
    assert (loss == pytest.approx(expected.item(), abs=2e-6)) == (turns == "apart")


@pytest.mark.parametrize("apart", [True, False])
def test_a_sample_is_the_same_from_the_cache(build, splits, monkeypatch, apart):
    _, processor = build("tokenpacker", 4)
    fresh = conversations(
        splits["stage2"], processor, apart=apart, query_turn="random", max_length=30
    )
    first = [fresh[i] for i in range(len(fresh))]
    encodings = []
    encode_all = module.encode_all
    monkeypatch.setattr(
        module,
        "encode_all",
        lambda said, *a, **k: encodings.extend(said) or encode_all(said, *a, **k),
    )
    again = [fresh[i] for i in reversed(range(len(fresh)))][::-1]
    assert not encodings, "nothing was cached"
    monkeypatch.setattr(module, "MAX_CACHED_SAMPLES", 3)
    large = conversations(
        splits["stage2"], processor, apart=apart, query_turn="random", max_length=30
    )
    uncached = [[large[i] for i in range(len(large))] for _ in range(2)]
    assert not large.cache
    for samples in (again, *uncached):
        for one, other in zip(first, samples, strict=True):
            assert (one.id, one.encoded) == (other.id, other.encoded)
            assert (one.image is None) == (other.image is None)
            assert one.image is None or torch.equal(one.image, other.image)
