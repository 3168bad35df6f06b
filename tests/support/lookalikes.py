"""Small tokenizers in the form of Qwen1.5's and Vicuna's, which tests cannot download.

The pipelines are those that transformers builds for both families. Vocabularies are trained on the sentences
below, so that most of their words are one token; other text falls back to bytes.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaTokenizer, PreTrainedModel, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.tokenization_utils_base import generate_merges

from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.models.templates import TEMPLATES
from vlmscale.settings import IMAGE_TOKEN

SHARDS = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]

SENTENCES = [
    TEMPLATES["vicuna_v1"].system,
    "system user assistant\nYou are a helpful assistant.\nuser\nassistant\nsystem\n",
    "What is this? A red circle.\n\nTwo   spaces,  and  lines\n\n\nof text.",
    "How many? Two. The image",
    # As in Llama's vocabulary, USER is one token within a text and two after a space.
    "The US (US) ER (ER) US ER (USER: ASSISTANT: ASSISTANT",
]


def qwen(folder: Path, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE behind Qwen's own splitting rule, without a BOS token; each of `words` is a token."""
    like = Qwen2Tokenizer(vocab={"<|endoftext|>": 0}, merges=[]).backend_tokenizer
    learner = Tokenizer(models.BPE())
    learner.normalizer, learner.pre_tokenizer = like.normalizer, like.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        [*SENTENCES, *words] * 2,
        trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False),
    )
    learned = json.loads(learner.to_str())["model"]
    Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    ).save_pretrained(folder)
    return _loaded(folder)


def spm_model() -> sentencepiece.SentencePieceProcessor:
    """Sentencepiece BPE with Llama's settings: byte fallback, no normalisation, no piece with a newline."""
    lines = [line for sentence in SENTENCES for line in sentence.splitlines() if line]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 4),
        model_writer=file,
        model_type="bpe",
        vocab_size=600,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
        num_threads=1,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())


def vicuna(folder: Path, *, legacy: bool = False) -> PreTrainedTokenizerFast:
    """`spm_model` as a tokenizer.json; Vicuna 1.5 says `legacy: false` in its tokenizer_config.json."""
    model = spm_model()
    vocabulary = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    scores = {piece: model.get_score(i) for piece, i in vocabulary.items()}
    skipped = {piece for piece, i in vocabulary.items() if model.is_control(i) or model.is_byte(i)}
    LlamaTokenizer(
        vocab=vocabulary,
        merges=generate_merges(vocabulary, scores, skipped),
        legacy=legacy,
        add_bos_token=True,
        pad_token="<unk>",
    ).save_pretrained(folder)
    return _loaded(folder)


def released_vicuna(folder: Path, llm: PreTrainedModel) -> dict[str, Tensor]:
    """Write an LLM with the vocabulary of `spm_model` in the files that Vicuna's repository has: two pickles with
    their index, in one of them frequencies in 32 bits, and a sentencepiece model. Returns the weights.
    """
    llm.config.save_pretrained(folder)
    weights = dict(llm.state_dict())
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.rand(4)
    names = sorted(weights)
    for shard, mine in zip(SHARDS, (names[::2], names[1::2]), strict=True):
        torch.save({name: weights[name] for name in mine}, folder / shard)
    places = {name: SHARDS[i % 2] for i, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "tokenizer.model").write_bytes(spm_model().serialized_model_proto())
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    chosen = {"legacy": False, "add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**chosen, "pad_token": None}))
    return weights


def _loaded(folder: Path) -> PreTrainedTokenizerFast:
    """Load a folder like a model's, and add the image token as a VLM does."""
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    return tokenizer
