"""How long an answer takes, whole and part by part, beside what the FLOPs of each part foresee.

Every case is measured once, then every case again: what slows the machine down for a while slows all of
them. Passes of the model alone are timed, from pixels in its memory to logits, without generate()'s own
work. What an adaptive compressor would hide from the LLM is computed all the same.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import Cache

from vlmscale.analysis.decisions.latency import summarize_times
from vlmscale.costs.flops import answer_gflops
from vlmscale.latency.machine import clock, machine, matmul_gflops_per_s
from vlmscale.latency.spec import Asked, Compressor, LatencySpec, all_asked
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import assemble
from vlmscale.models.meta import count_llm_parameters, read_decoder_shape, read_tower_shape
from vlmscale.models.projectors.base import Projector, build_projector
from vlmscale.models.prompt_cache import PromptCache, cache_tokens
from vlmscale.models.tower import compute_tower_features
from vlmscale.models.vlm import Vlm
from vlmscale.records.parquet import write_parquet

REPETITIONS = 5  # of a study's measurements, after one that warms up
_STEPS = 2  # of decoding, timed together
_LEAST = 2  # repetitions, however little time there is
Result = TypeVar("Result")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure_backbones(spec: LatencySpec) -> None:
    """Time an LLM of a study with its compressors, and write the table."""
    model, _ = assemble(
        spec.llm,
        spec.tower,
        spec.compressors[0],
        feature_layers=list(spec.feature_layers),
        template=spec.template,
        seed=0,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device, PRECISIONS[spec.precision]).eval()
    table = measure(
        model,
        spec.compressors,
        all_asked(spec.text_tokens),
        llm=spec.name,
        repetitions=REPETITIONS,
    )
    write_parquet(
        spec.output, table, {"fingerprint": spec.fingerprint, **machine(device, model.dtype)}
    )


def measure(
    model: Vlm,
    compressors: Sequence[Compressor],
    questions: Sequence[Asked],
    *,
    llm: str,
    repetitions: int,
    seconds: float = float("inf"),
    positions: float = float("inf"),
) -> pd.DataFrame:
    """One row a compressor and question: columns of analysis/latency.py.

    `model` keeps its LLM and tower and ends with the last compressor. What has more than `positions` in a
    pass of the LLM, or runs out of a GPU's memory, is a row that says so; after `seconds` no further
    repetition begins.
    """
    bench = _Bench(model)
    rate = matmul_gflops_per_s(model.device, model.dtype)
    cases = [_Case(*pair) for pair in product(compressors, questions)]
    started = time.perf_counter()
    with tqdm(total=(repetitions + 1) * len(cases), desc=llm) as bar:
        for repetition in range(repetitions + 1):
            if repetition > _LEAST and time.perf_counter() - started > seconds:
                break
            for case in cases:
                _measure_once(case, bench, positions)
                bar.update()
    of_all = {"llm": llm, "n_params_b": count_llm_parameters(model) / 1e9}
    return pd.DataFrame(
        [
            {
                **of_all,
                "method": case.compressor.name,
                "visual_tokens": case.compressor.visual_tokens,
                **case.asked.model_dump(),
                "skipped": case.skipped,
                # The first repetition warms up.
                **summarize_times(case.times[1:], bench.gflops(case.compressor, case.asked), rate),
            }
            for case in cases
        ]
    )


@dataclass
class _Case:
    """A row of the table as it is made: the times of each repetition, or why there are none."""

    compressor: Compressor
    asked: Asked
    times: list[dict[str, float]] = field(default_factory=list)
    skipped: str = ""


def _measure_once(case: _Case, bench: "_Bench", positions: float) -> None:
    if case.skipped:
        return
    bench.install(case.compressor)
    case.skipped = bench.obstacle(case.asked, positions)
    if case.skipped:
        return
    try:
        case.times.append(bench.once(case.asked))
    except torch.OutOfMemoryError:
        case.skipped, case.times = "does not fit into the GPU's memory", []
        torch.cuda.empty_cache()


class _Bench:
    """A model whose compressor can be exchanged, and timed passes of it."""

    def __init__(self, model: Vlm) -> None:
        self.model, self.config = model, model.config
        self.now = clock(model.device)
        self.attention = self.config.text_config._attn_implementation
        self.projectors: dict[str, Projector] = {}
        self.prompts: dict[int, PromptCache] = {}  # by tokens of text

    def install(self, compressor: Compressor) -> None:
        """Put the compressor in, made at its first use."""
        self.config.setting = compressor
        key = compressor.model_dump_json()
        if key not in self.projectors:
            projector = build_projector(self.config.widths, compressor).eval()
            self.projectors[key] = projector.to(self.model.device, self.model.dtype)
        self.model.model.multi_modal_projector = self.projectors[key]
        self.model.model.language_model.set_attn_implementation(self.attention)
        self.model.select_attention_kernels()

    @property
    def projector(self) -> Projector:
        return self.model.model.multi_modal_projector

    def obstacle(self, asked: Asked, positions: float) -> str:
        """Why a case is left out; empty where it is not."""
        if asked.cached_text and asked.text_tokens and "llm_attention" in self.projector.needs:
            return "prunes inside the LLM, by a pass over the whole prompt"
        new = 0 if asked.cached_text else asked.text_tokens
        if asked.batch * (self.projector.placeholders + new) > positions:
            return f"more than {positions:g} positions in a pass"
        return ""

    def gflops(self, compressor: Compressor, asked: Asked) -> dict[str, float]:
        """Of each part, for the whole batch."""
        cost = answer_gflops(
            read_decoder_shape(self.config),
            read_tower_shape(self.config),
            compressor.method,
            compressor.visual_tokens,
            asked.text_tokens,
            _STEPS,
            text="cached" if asked.cached_text else "new",
            feature_layers=len(self.config.layers),
        )
        apart = "pixels" not in find_method(compressor.method).needs
        parts = {
            "latency": cost.total - cost.decode.total,
            "tower": cost.tower if apart else cost.tower + cost.compressor,
            "compressor": cost.compressor if apart else 0.0,
            "text": cost.text_pass,
            "prefill": cost.prefill.total,
            "decode": cost.decode.total / _STEPS,
        }
        return {part: asked.batch * gflops for part, gflops in parts.items()}

    @torch.inference_mode()
    def once(self, asked: Asked) -> dict[str, float]:
        """Milliseconds of the whole up to the first token, and of each part there is."""
        inner, prompt = self.model.model, self._prompt(asked)
        pixels, ids = self._inputs(asked)
        question = self._question(asked, prompt)
        found = {}
        found["latency"], _ = self._timed(
            lambda: self._prefill(ids, inner.encode_images(pixels, **question).tokens, prompt)
        )
        if (unread := question.pop("question_input_ids", None)) is not None:
            found["text"], question["question_states"] = self._timed(
                lambda: inner.encode_questions(unread, question["question_attention_mask"])
            )
        if "pixels" in self.projector.needs:  # it has the tower look again: one part
            found["tower"], visual = self._timed(lambda: inner.encode_images(pixels, **question))
        else:
            found["tower"], features = self._timed(
                lambda: compute_tower_features(inner.vision_tower, pixels, self.config.layers)
            )
            found["compressor"], visual = self._timed(
                lambda: inner.encode_images(vision_features=features, **question)
            )
        found["prefill"], out = self._timed(lambda: self._prefill(ids, visual.tokens, prompt))
        steps, _ = self._timed(lambda: self._decode(ids[:, -1:], out.past_key_values))
        return {**found, "decode": steps / _STEPS}

    def _prefill(self, ids: Tensor, visual: Tensor, prompt: PromptCache | None) -> Any:
        cache = None if prompt is None else prompt.build_cache(len(ids))
        return self.model(
            input_ids=ids,
            visual_embeds=visual,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )

    def _decode(self, token: Tensor, cache: Cache) -> None:
        for _ in range(_STEPS):
            self.model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def _timed(self, call: Callable[[], Result]) -> tuple[float, Result]:
        """Milliseconds until the device has finished."""
        started = self.now()
        result = call()
        return 1e3 * (self.now() - started), result

    def _inputs(self, asked: Asked) -> tuple[Tensor, Tensor]:
        """Pixels of a batch, and the tokens of its pass: the image's, and before an answer new text."""
        vision = self.config.vision_config
        shape = (asked.batch, vision.num_channels, vision.image_size, vision.image_size)
        pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        image = torch.full(
            (asked.batch, self.projector.placeholders), self.config.image_token_index
        )
        new = 0 if asked.cached_text else asked.text_tokens
        ids = torch.cat([image, self._words(asked.batch, new).cpu()], dim=1)
        return pixels.to(self.model.device, self.model.dtype), ids.to(self.model.device)

    def _words(self, batch: int, number: int) -> Tensor:
        """Some tokens that are no image's, the same at every call."""
        image, rows = self.config.image_token_index, self.config.text_config.vocab_size
        random = torch.Generator().manual_seed(number)
        words = torch.randint(rows - 1, (batch, number), generator=random)
        return (words + (words >= image)).to(self.model.device)

    def _prompt(self, asked: Asked) -> PromptCache | None:
        """The text that was computed before, if anything of it is used."""
        tokens = asked.text_tokens
        if not asked.cached_text or not (tokens or self.projector.reads_question):
            return None
        if tokens not in self.prompts:
            words = self._words(1, max(tokens, 1))  # a question has a word
            self.prompts[tokens] = cache_tokens(self.model, words[:, :tokens], words[:, :0], words)
        return self.prompts[tokens]

    def _question(self, asked: Asked, prompt: PromptCache | None) -> dict[str, Tensor]:
        """What the compressor needs of it: as it was read before, or as it comes."""
        if not self.projector.reads_question:
            return {}
        if prompt is not None:
            return prompt.build_question_inputs(asked.batch)
        words = self._words(asked.batch, asked.text_tokens)
        return {"question_input_ids": words, "question_attention_mask": torch.ones_like(words)}
