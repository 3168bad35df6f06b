"""Time an answer, in total and part by part, beside the FLOPs of each part.

Repetitions go round all cases, so that a temporary slowdown of the machine affects all of them. Only the
model's passes are timed, from pixels in its memory to logits, without generate()'s own work. Tokens that
an adaptive method masks for the LLM are computed all the same.
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
from vlmscale.costs.shapes import read_decoder, read_tower
from vlmscale.latency.machine import choose_clock, describe_machine, measure_matmul_gflops_per_s
from vlmscale.latency.spec import LatencySpec, NamedSetting, PromptCase, prompt_cases
from vlmscale.methods import find_method
from vlmscale.models.checkpoint import assemble
from vlmscale.models.projectors.base import Projector, build_projector
from vlmscale.models.prompt_cache import PromptCache, cache_tokens
from vlmscale.models.tower import compute_tower_features, find_image_side
from vlmscale.models.vlm import Vlm
from vlmscale.models.vlm_model import VisualTokens
from vlmscale.records.parquet import write_parquet

REPETITIONS = 5  # of a study's measurements, after a warm-up
_STEPS = 2  # decoding steps that are timed together
_MIN_REPETITIONS = 2  # also beyond the time limit
Result = TypeVar("Result")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def measure_backbones(spec: LatencySpec) -> None:
    """Time an LLM of a study with its settings, and write the table."""
    layers, setting = list(spec.feature_layers), spec.settings[0]
    model, _ = assemble(
        spec.llm,
        spec.tower,
        setting,
        feature_layers=layers,
        template=spec.template,
        seed=0,
        image_size=spec.image_size,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device, PRECISIONS[spec.precision]).eval()
    prompts = prompt_cases(spec.text_tokens)
    table = measure(model, spec.settings, prompts, llm=spec.name, repetitions=REPETITIONS)
    machine = describe_machine(device, model.dtype)
    write_parquet(spec.output, table, {"fingerprint": spec.fingerprint, **machine})


def measure(
    model: Vlm,
    settings: Sequence[NamedSetting],
    prompts: Sequence[PromptCase],
    *,
    llm: str,
    repetitions: int,
    seconds: float = float("inf"),
    positions: float = float("inf"),
) -> pd.DataFrame:
    """Return one row per setting and prompt; analysis/decisions/latency.py has the columns.

    `model` keeps its LLM and tower and ends with the last projector. A case with more than `positions` in
    a pass of the LLM, or that does not fit into a GPU's memory, is a row with the reason in `skipped`. No
    repetition begins after `seconds`.
    """
    bench = _Bench(model)
    rate = measure_matmul_gflops_per_s(model.device, model.dtype)
    cases = [_Case(*pair) for pair in product(settings, prompts)]
    started = time.perf_counter()
    with tqdm(total=(repetitions + 1) * len(cases), desc=llm) as bar:
        for repetition in range(repetitions + 1):
            if repetition > _MIN_REPETITIONS and time.perf_counter() - started > seconds:
                break
            for case in cases:
                _measure_once(case, bench, positions)
                bar.update()
    table = pd.DataFrame([_make_row(case, bench, rate) for case in cases])
    table.insert(0, "llm", llm)
    table.insert(1, "n_params_b", model.count_llm_parameters() / 1e9)
    return table


@dataclass
class _Case:
    """A row of the table: the times of each repetition, or the reason why there are none."""

    setting: NamedSetting
    prompt: PromptCase
    times: list[dict[str, float]] = field(default_factory=list)
    skipped: str = ""


def _measure_once(case: _Case, bench: "_Bench", positions: float) -> None:
    if not case.skipped:
        bench.install(case.setting)
        case.skipped = bench.reason_to_skip(case.prompt, positions)
    if case.skipped:
        return
    try:
        case.times.append(bench.time_once(case.prompt))
    except torch.OutOfMemoryError:
        case.skipped, case.times = "does not fit into the GPU's memory", []
        torch.cuda.empty_cache()


def _make_row(case: _Case, bench: "_Bench", rate: float) -> dict[str, Any]:
    gflops = bench.count_gflops(case.setting, case.prompt)
    return {
        "method": case.setting.name,
        "visual_tokens": case.setting.visual_tokens,
        **case.prompt.model_dump(),
        "skipped": case.skipped,
        **summarize_times(case.times[1:], gflops, rate),  # the first repetition warms up
    }


class _Bench:
    """A model whose projector can be exchanged, and timed passes of it."""

    def __init__(self, model: Vlm) -> None:
        self.model, self.config = model, model.config
        self.read_clock = choose_clock(model.device)
        self.attention = self.config.text_config._attn_implementation
        self.projectors: dict[str, Projector] = {}
        self.prompts: dict[int, PromptCache] = {}  # by tokens of text

    def install(self, setting: NamedSetting) -> None:
        """Put the projector of `setting` into the model, and build it at its first use."""
        self.config.setting = setting
        key = setting.model_dump_json()
        if key not in self.projectors:
            projector = build_projector(self.config.widths, setting).eval()
            self.projectors[key] = projector.to(self.model.device, self.model.dtype)
        self.model.model.multi_modal_projector = self.projectors[key]
        self.model.model.language_model.set_attn_implementation(self.attention)
        self.model.select_attention_kernels()

    @property
    def projector(self) -> Projector:
        return self.model.model.multi_modal_projector

    def reason_to_skip(self, prompt: PromptCase, positions: float) -> str:
        """Return why a case is not timed; empty if it is."""
        if prompt.cached_text and prompt.text_tokens and "llm_attention" in self.projector.needs:
            return "prunes inside the LLM, by a pass over the whole prompt"
        if prompt.cached_text and "text_embeddings" in self.projector.needs:
            return "mixes the image into the text before the LLM"
        if prompt.batch * (self.projector.placeholders + prompt.new_tokens) > positions:
            return f"more than {positions:g} positions in a pass"
        return ""

    def count_gflops(self, setting: NamedSetting, prompt: PromptCase) -> dict[str, float]:
        """Return the GFLOPs of each part, for the whole batch."""
        cost = answer_gflops(
            read_decoder(self.config.text_config.to_dict()),
            read_tower(self.config.vision_config.to_dict(), len(self.config.layers)),
            setting.method,
            setting.visual_tokens,
            prompt.text_tokens,
            _STEPS,
            text="cached" if prompt.cached_text else "new",
            options=setting.options,
        )
        apart = "pixels" not in find_method(setting.method).needs
        parts = {
            "latency": cost.total - cost.decode.total,
            "tower": cost.tower if apart else cost.tower + cost.compressor,
            "compressor": cost.compressor if apart else 0.0,
            "text": cost.text_pass,
            "prefill": cost.prefill.total,
            "decode": cost.decode.total / _STEPS,
        }
        return {part: prompt.batch * gflops for part, gflops in parts.items()}

    @torch.inference_mode()
    def time_once(self, prompt: PromptCase) -> dict[str, float]:
        """Return milliseconds of everything up to the first token (latency), and of each part."""
        inner, cache = self.model.model, self._cache_prompt(prompt)
        pixels, ids = self._make_inputs(prompt)
        question = self._question_inputs(prompt, cache)
        times = {}
        times["latency"], _ = self._time(
            lambda: self._prefill(ids, inner.encode_images(pixels, **question), cache)
        )
        if (unread := question.pop("question_input_ids", None)) is not None:
            times["text"], question["question_states"] = self._time(
                lambda: inner.encode_questions(unread, question["question_attention_mask"])
            )
        if "pixels" in self.projector.needs:  # it runs the tower itself: one part
            times["tower"], visual = self._time(lambda: inner.encode_images(pixels, **question))
        else:
            times["tower"], features = self._time(
                lambda: compute_tower_features(inner.vision_tower, pixels, self.config.layers)
            )
            times["compressor"], visual = self._time(
                lambda: inner.encode_images(vision_features=features, **question)
            )
        times["prefill"], out = self._time(lambda: self._prefill(ids, visual, cache))
        steps, _ = self._time(lambda: self._decode(ids[:, -1:], out.past_key_values))
        return {**times, "decode": steps / _STEPS}

    def _prefill(self, ids: Tensor, visual: VisualTokens, cache: PromptCache | None) -> Any:
        return self.model(
            input_ids=ids,
            visual_embeds=visual.tokens,
            visual_context=visual.context,
            past_key_values=None if cache is None else cache.build_cache(len(ids)),
            use_cache=True,
            logits_to_keep=1,
        )

    def _decode(self, token: Tensor, cache: Cache) -> None:
        for _ in range(_STEPS):
            self.model(input_ids=token, past_key_values=cache, use_cache=True, logits_to_keep=1)

    def _time(self, call: Callable[[], Result]) -> tuple[float, Result]:
        """Return milliseconds until the device has finished, and the result."""
        started = self.read_clock()
        result = call()
        return 1e3 * (self.read_clock() - started), result

    def _make_inputs(self, prompt: PromptCase) -> tuple[Tensor, Tensor]:
        """Return a batch's pixels and the token ids of its pass: image tokens, then new text."""
        vision = self.config.vision_config
        side = find_image_side(vision)
        shape = (prompt.batch, vision.num_channels, side, side)
        pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        words = self._make_words(prompt.batch, prompt.new_tokens)
        image = words.new_full(
            (prompt.batch, self.projector.placeholders), self.config.image_token_index
        )
        return pixels.to(self.model.device, self.model.dtype), torch.cat([image, words], dim=1)

    def _make_words(self, batch: int, number: int) -> Tensor:
        """Return random text tokens, the same at every call."""
        image, rows = self.config.image_token_index, self.config.text_config.vocab_size
        random = torch.Generator().manual_seed(number)
        words = torch.randint(rows - 1, (batch, number), generator=random)
        return (words + (words >= image)).to(self.model.device)

    def _cache_prompt(self, prompt: PromptCase) -> PromptCache | None:
        """Return the cache of the prompt's text, None if the pass uses none of it."""
        tokens = prompt.text_tokens
        if not prompt.cached_text or not (tokens or self.projector.reads_question):
            return None
        if tokens not in self.prompts:
            words = self._make_words(1, max(tokens, 1))  # a question has at least one word
            self.prompts[tokens] = cache_tokens(self.model, words[:, :tokens], words[:, :0], words)
        return self.prompts[tokens]

    def _question_inputs(self, prompt: PromptCase, cache: PromptCache | None) -> dict[str, Tensor]:
        """Return what the projector reads of the question, from the cache or as new text."""
        if not self.projector.reads_question:
            return {}
        if cache is not None:
            return cache.build_question_inputs(prompt.batch)
        words = self._make_words(prompt.batch, prompt.text_tokens)
        return {"question_input_ids": words, "question_attention_mask": torch.ones_like(words)}
