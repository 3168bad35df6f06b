"""What the model reads, what it learns, and which text is the question."""

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from tests.support.samples import encode
from vlmscale.data.world.questions import list_vocabulary
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.models.conversation import IGNORED
from vlmscale.training.backbones import train_tokenizer
from vlmscale.training.spec import TokenizerSpec

TURNS = [
    {"from": "human", "value": "<image>\nany red circle ?"},
    {"from": "gpt", "value": "yes"},
    {"from": "human", "value": "how many ?"},
    {"from": "gpt", "value": "2"},
]


@pytest.fixture(scope="module")
def tokenizer(backbones):
    return load_tokenizer(backbones["llm"])


def supervised_text(tokenizer, encoded):
    return tokenizer.decode([i for i in encoded.labels if i != IGNORED])


def test_every_word_of_the_world_is_known(tokenizer, splits):
    import pyarrow.parquet as pq

    for file in splits["test"].glob("*.parquet"):
        for row in pq.read_table(file, columns=["question", "answer"]).to_pylist():
            ids = tokenizer.encode(row["question"] + "\n" + row["answer"])
            assert tokenizer.unk_token_id not in ids


def test_the_vocabulary_has_no_holes_and_a_token_for_each_word(tokenizer, study):
    known = tokenizer.get_vocab()
    assert sorted(known.values()) == list(range(len(tokenizer)))
    words = {"<unk>", "<pad>", "<eos>", "<image>", "\n", *list_vocabulary(study.world)}
    assert set(known) == words
    assert tokenizer.decode([known["any"]]) == "any"


def test_qa_template(tokenizer):
    encoded = encode(TURNS, tokenizer, "qa", visual_tokens=3)
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert tokens[:5] == ["<image>", "<image>", "<image>", "\n", "any"]
    assert supervised_text(tokenizer, encoded).split() == ["yes", "<eos>", "2", "<eos>"]
    assert len(encoded.labels) == len(encoded.input_ids)


def test_plain_template_leaves_out_what_the_human_says(tokenizer):
    encoded = encode(TURNS[:2], tokenizer, "plain", visual_tokens=2)
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == ["<image>", "<image>", "yes", "\n"]
    assert encoded.labels[:2] == [IGNORED, IGNORED]


def test_a_prompt_is_the_beginning_of_its_training_sample(tokenizer):
    sample = encode(TURNS[:2], tokenizer, "qa", visual_tokens=3)
    prompt = encode(TURNS[:1], tokenizer, "qa", visual_tokens=3)
    assert sample.input_ids[: len(prompt.input_ids)] == prompt.input_ids
    assert set(prompt.labels) == {IGNORED}
    assert sample.labels[: len(prompt.labels)] == prompt.labels


@pytest.mark.parametrize(("turn", "question"), [("first", TURNS[0]), ("last", TURNS[2])])
def test_the_question_is_the_bare_text_of_a_human_turn(tokenizer, turn, question):
    encoded = encode(TURNS, tokenizer, "qa", visual_tokens=1, query_turn=turn)
    assert encoded.question_ids == tokenizer.encode(question["value"].removeprefix("<image>\n"))


def test_a_random_question_follows_its_generator(tokenizer):
    def draw(seed):
        rng = np.random.default_rng(seed)
        return encode(TURNS, tokenizer, "qa", visual_tokens=1, query_turn="random", rng=rng)

    assert draw(1).question_ids == draw(1).question_ids
    assert len({tuple(draw(seed).question_ids) for seed in range(20)}) == 2


def test_an_image_without_a_question_still_has_one(tokenizer):
    turns = [{"from": "human", "value": "<image>\n"}, TURNS[1]]
    assert encode(turns, tokenizer, "qa", visual_tokens=1).question_ids


def test_a_tiny_tokenizer_knows_the_marks_of_qwen(study, tmp_path):
    train_tokenizer(
        TokenizerSpec(
            words=list_vocabulary(study.world), template="qwen", output=tmp_path / "tokenizer"
        )
    )
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    encoded = encode(TURNS, tokenizer, "qwen", visual_tokens=1)
    assert tokenizer.unk_token_id not in encoded.input_ids
    assert supervised_text(tokenizer, encoded).split() == ["yes", "<|im_end|>", "2", "<|im_end|>"]
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize("begins", [True, False])
def test_qwen_with_a_bos_token(begins):
    """A text begins with the BOS token where the tokenizer puts it, not where it only names one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<unk>", "<s>", "<|im_start|>", "<|im_end|>", "<image>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*special, *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", additional_special_tokens=special[2:]
    )
    if begins:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
    first = tokenizer.convert_tokens_to_ids("<s>" if begins else "<|im_start|>")
    encoded = encode(TURNS, tokenizer, "qwen", visual_tokens=2)
    assert encoded.input_ids[0] == first
    text = "".join(tokenizer.convert_ids_to_tokens(encoded.input_ids))
    assert text.count("<|im_start|>") == 5  # system, two questions, two answers
    answers = [i for i in encoded.labels if i != IGNORED]
    assert tokenizer.convert_ids_to_tokens(answers)[:4] == ["y", "e", "s", "<|im_end|>"]
    apart = encode(TURNS, tokenizer, "qwen", visual_tokens=2, apart=True)
    assert apart.input_ids[0] == first
    assert apart.turns[0] == 0  # all turns begin with it
    text = "".join(tokenizer.convert_ids_to_tokens(apart.input_ids))
    assert text.count("<|im_start|>") == 4  # system and the opening of a question are shared
