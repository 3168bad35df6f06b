"""Measure training, answers and evaluation with shapes of published LLMs on this machine's GPU.

    python benchmarks/gpu.py --gpu h100                  # planned for under ten minutes on one GPU of 80 GB
    python benchmarks/gpu.py --llms w64 --visual-tokens 144,36,1 --batch 2 --folder /tmp   # on a CPU

Writes training_GPU_gpu.parquet, latency_GPU_gpu.parquet and evaluation_GPU_gpu.parquet with device, driver
and versions; `vlmscale cells --gpu GPU` reads the first. Weights are random. A training step is one of
stage 2 by torch's autocast: forward, backward, clipping and AdamW on projector and LLM, half of the text
supervised. Plain LLaVA is transformers' LlavaForConditionalGeneration with the same shapes. An LLM too
large for the GPU's memory keeps as many layers as fit (`layers`): its utilisation is that of its width.
"of ideal" is the speed-up over plain LLaVA as a share of the ratio of FLOPs. Cached images are keys and
values of an image before its question. --minutes is divided among LLMs; a step that no time is left for is
a row with that reason.
"""

import gc
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from common import DEVICE, DTYPE, build_with_random_weights, find_peak_gflops, plain_llava_config
from latency import build_config, list_settings, parse_numbers
from steps import TEXT, install, make_batch, time_steps
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration

from vlmscale.costs.flops import training_gflops
from vlmscale.costs.gpus import load_gpus
from vlmscale.costs.memory import USABLE, Layout, gpu_memory
from vlmscale.costs.shapes import Decoder, Tower, read_decoder, read_tower
from vlmscale.errors import UserError
from vlmscale.jobs.entry import exit_with_message
from vlmscale.latency.machine import choose_clock, describe_machine
from vlmscale.latency.measure import measure
from vlmscale.latency.spec import NamedSetting, prompt_cases
from vlmscale.models.config import VlmConfig
from vlmscale.models.vlm import Vlm
from vlmscale.records.parquet import write_parquet
from vlmscale.resources import find_resource

LLMS = "Qwen1.5-0.5B,Qwen1.5-1.8B,Qwen1.5-4B,Qwen1.5-7B,vicuna-7b-v1.5"
_QUESTION, _ANSWER = 50, 8  # tokens of an evaluated question
_SHARES = {"training": 0.45, "latency": 0.35, "evaluation": 0.1}  # of an LLM's time
_NO_TIME = "no time was left: raise --minutes"


def read_shapes(config: VlmConfig) -> tuple[Decoder, Tower]:
    """Return the shapes that costs are counted from."""
    return (
        read_decoder(config.text_config.to_dict()),
        read_tower(config.vision_config.to_dict(), len(config.layers)),
    )


def cut_to_memory(config: VlmConfig, batch: int, tokens: int, memory: float) -> int:
    """Keep the most layers of the LLM with which a step of `tokens` visual ones fits; return their number.

    memory: bytes of the device. Raises UserError where not even one layer fits.
    """
    decoder, tower = read_shapes(config)
    layout = Layout(1, 0, batch, max_length=tokens + TEXT, checkpointing=False)
    for layers in range(decoder.layers, 0, -1):
        shorter = replace(decoder, layers=layers)
        need = gpu_memory(shorter, tower, "mlp", tokens, "stage2", layout)
        if need.total <= USABLE * memory:
            config.text_config.num_hidden_layers = layers
            if getattr(config.text_config, "layer_types", None):
                config.text_config.layer_types = config.text_config.layer_types[:layers]
            return layers
    raise UserError(
        f"one layer of width {decoder.hidden_size} needs {need.total / 1e9:.0f} GB at a batch of {batch}. "
        "Lower --batch."
    )


def measure_training(
    llm: str, settings: Sequence[NamedSetting], batch: int, repetitions: int, until: float
) -> list[dict[str, Any]]:
    """Return a row for plain LLaVA, then one for each setting, the most tokens first."""
    config = build_config(llm)
    whole = config.text_config.num_hidden_layers
    memory = torch.cuda.mem_get_info()[1] if DEVICE.type == "cuda" else float("inf")
    layers = cut_to_memory(config, batch, settings[0].visual_tokens, memory)
    rows: list[dict[str, Any]] = []
    model: Any = None
    cases = [("plain LLaVA", settings[0]), *(("ours", setting) for setting in settings)]
    for kind, setting in cases:
        decoder, tower = read_shapes(config)
        gflops = (
            batch
            * training_gflops(
                decoder, tower, setting.method, setting.visual_tokens, TEXT, llm_trained=True
            ).total
        )
        row: dict[str, Any] = {
            "model": kind,
            "llm": llm,
            "layers": layers,
            "of_layers": whole,
            "method": setting.name,
            "visual_tokens": setting.visual_tokens,
            "text_tokens": TEXT,
            "stage": "stage2",
            "batch": batch,
            "gflops": gflops,
            "skipped": "" if time.monotonic() < until else _NO_TIME,
        }
        rows.append(row)
        if row["skipped"]:
            continue
        if kind == "plain LLaVA":
            inputs = make_batch(build_ours(config, setting), batch)
            free_memory()
            model = build_plain(config)
        else:
            if len(rows) == 2:  # after plain LLaVA: one of them has room
                model = None
                free_memory()
                model = build_ours(config, setting)
            install(model, setting)
            inputs = make_batch(model, batch)
        try:
            times = time_steps(model, "stage2", inputs, DTYPE, repetitions)
        except torch.OutOfMemoryError:
            row["skipped"] = "does not fit into the GPU's memory"
            continue
        finally:
            model.zero_grad()
            free_memory()
        row |= summarise("step", times)
        row["tokens_per_second"] = 1e3 * batch * (setting.visual_tokens + TEXT) / row["step_ms"]
    return compare_with_plain(rows)


def build_ours(config: VlmConfig, setting: NamedSetting) -> Vlm:
    """Build our model with random weights, to be trained."""
    model = build_with_random_weights(config, DEVICE, DTYPE).train()
    install(model, setting)
    return model


def build_plain(config: VlmConfig) -> LlavaForConditionalGeneration:
    """Build transformers' own with random weights, to be trained."""
    with torch.device(DEVICE):
        plain = LlavaForConditionalGeneration._from_config(plain_llava_config(config), dtype=DTYPE)
    return plain.train()


def compare_with_plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add how many times faster than plain LLaVA each row's step is, and that as a share of the ideal."""
    first = rows[0]
    for row in rows:
        if "step_ms" in row and "step_ms" in first:
            row["ratio"] = first["step_ms"] / row["step_ms"]
            row["of_ideal"] = row["ratio"] / (first["gflops"] / row["gflops"])
    return rows


def summarise(name: str, milliseconds: Sequence[float]) -> dict[str, float]:
    """Return median and interquartile range of times."""
    low, middle, high = np.quantile(milliseconds, [0.25, 0.5, 0.75])
    return {f"{name}_ms": float(middle), f"{name}_iqr_ms": float(high - low)}


def free_memory() -> None:
    """Return what no tensor uses any more to the GPU."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


@torch.inference_mode()
def measure_cached_images(
    model: Vlm,
    settings: Sequence[NamedSetting],
    texts: Sequence[int],
    batches: Sequence[int],
    n: int,
) -> list[dict[str, Any]]:
    """Time the pass over a question, and one decoding step, behind cached keys and values of its image.

    n: repetitions, after a warm-up.
    """
    rows = []
    for setting in settings:
        for batch in batches:
            try:
                found = [_time_behind_image(model, setting, q, batch, n) for q in texts if q]
            except torch.OutOfMemoryError:
                found = [
                    {"text_tokens": q, "skipped": "does not fit into the GPU's memory"}
                    for q in texts
                    if q
                ]
                free_memory()
            case = {"method": setting.name, "visual_tokens": setting.visual_tokens, "batch": batch}
            rows += [{**case, "cached_text": False, "cached_image": True, **row} for row in found]
    return rows


def _time_behind_image(
    model: Vlm, setting: NamedSetting, text_tokens: int, batch: int, n: int
) -> dict[str, Any]:
    image, llm = setting.visual_tokens, model.model.language_model
    width = model.config.text_config.hidden_size
    cache = DynamicCache(config=model.config.text_config)
    embeds = torch.randn(batch, image, width, device=DEVICE, dtype=model.dtype)
    llm(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
    words = torch.ones(batch, text_tokens, dtype=torch.long, device=DEVICE)
    times: dict[str, list[float]] = {"prefill": [], "decode": []}
    for _ in range(n + 1):
        for part, ids in (("prefill", words), ("decode", words[:, :1])):
            times[part].append(
                time_call(
                    lambda ids=ids: model(
                        input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
                    )
                )
            )
        cache.crop(-(text_tokens + 1))
    row: dict[str, Any] = {"text_tokens": text_tokens, "skipped": "", "repetitions": n}
    decoder, _ = read_shapes(model.config)
    for part, new in (("prefill", text_tokens), ("decode", 1)):
        cached = image if part == "prefill" else image + text_tokens
        row |= summarise(part, times[part][1:])
        row[f"{part}_gflops"] = batch * decoder.forward(new, cached=cached, scored=1).total
    row["n_params_b"] = model.count_llm_parameters() / 1e9
    return row


def time_call(call: Callable[[], object]) -> float:
    """Return milliseconds until the device has finished."""
    read_clock = choose_clock(DEVICE)
    started = read_clock()
    call()
    return 1e3 * (read_clock() - started)


@torch.inference_mode()
def measure_evaluation(
    model: Vlm, settings: Sequence[NamedSetting], batches: Sequence[int], n: int
) -> list[dict[str, Any]]:
    """Time answers from pixels to their last token; a row for each setting and batch."""
    rows = []
    for setting in settings:
        for batch in batches:
            install(model, setting)
            given: dict[str, Tensor] = {
                name: value if name != "pixel_values" else value.to(model.dtype)
                for name, value in make_batch(model, batch).items()
                if name != "labels"
            }
            given["input_ids"] = given["input_ids"][:, : setting.visual_tokens + _QUESTION]
            given["attention_mask"] = torch.ones_like(given["input_ids"])
            row = {"method": setting.name, "visual_tokens": setting.visual_tokens, "batch": batch}
            row |= {"text_tokens": _QUESTION, "answer_tokens": _ANSWER, "skipped": ""}
            answer = {"max_new_tokens": _ANSWER, "min_new_tokens": _ANSWER, "do_sample": False}
            try:
                times = [
                    time_call(lambda given=given, answer=answer: model.generate(**given, **answer))
                    for _ in range(n + 1)
                ]
            except torch.OutOfMemoryError:
                row["skipped"] = "does not fit into the GPU's memory"
                free_memory()
            else:
                row |= summarise("batch", times[1:])
                row["questions_per_second"] = 1e3 * batch / row["batch_ms"]
            rows.append(row)
    return rows


def measure_answers(
    llm: str,
    settings: Sequence[NamedSetting],
    texts: Sequence[int],
    batches: Sequence[int],
    repetitions: int,
    seconds: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return latencies of one LLM, with new and cached text and cached images, and evaluation."""
    model = build_with_random_weights(build_config(llm), DEVICE, DTYPE).eval()
    table = measure(
        model,
        settings,
        prompt_cases(texts, batches),
        llm=llm,
        repetitions=repetitions,
        seconds=seconds,
    ).assign(cached_image=False)
    images = measure_cached_images(model, settings, texts, batches, repetitions)
    answers = measure_evaluation(model, settings, batches, repetitions)
    frames = [pd.DataFrame(found) for found in (images, answers)]
    for frame in frames:
        frame.insert(0, "llm", llm)
    return pd.concat([table, frames[0]], ignore_index=True), frames[1]


def describe(gpu: str, peak: float) -> dict[str, Any]:
    """Return what the tables record: device, driver, and the peak that steps are compared with."""
    driver = None
    if DEVICE.type == "cuda":
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()[0]
    machine = describe_machine(DEVICE, DTYPE)
    return {**machine, "driver": driver, "gpu": gpu, "peak_gflops_per_s": peak}


@exit_with_message()
def main(
    gpu: Annotated[
        str | None, typer.Option(help="row of src/vlmscale/resources/gpus.csv: peak, name of files")
    ] = None,
    llms: Annotated[str, typer.Option(help="names of resources/backbones, or w{width}")] = LLMS,
    visual_tokens: Annotated[str, typer.Option(help="counts; 576 is all")] = "576,144,36,1",
    text_tokens: Annotated[str, typer.Option(help="of a question")] = "0,50,200",
    batch: Annotated[int, typer.Option(min=1, help="samples of a training step")] = 16,
    batches: Annotated[str, typer.Option(help="answers at once")] = "1,64",
    repetitions: Annotated[int, typer.Option(min=2, help="after a warm-up")] = 5,
    minutes: Annotated[float, typer.Option(help="for all LLMs together")] = 9.0,
    folder: Annotated[
        Path | None, typer.Option(help="of the tables; by default the package's")
    ] = None,
) -> None:
    if gpu is not None and gpu not in load_gpus():
        raise UserError(
            f"--gpu {gpu}: not in src/vlmscale/resources/gpus.csv. Choose one of: {', '.join(load_gpus())}."
        )
    names, folder = llms.split(","), folder or find_resource("measured")
    peak, each = find_peak_gflops(gpu), 60 * minutes / len(names)
    steps, latencies, answers = [], [], []
    for name in names:
        started = time.monotonic()
        side = build_config(name).grid_side
        counts = sorted(parse_numbers(visual_tokens), reverse=True)
        settings = list_settings(["mlp", "tokenpacker"], counts, side)
        settings.sort(key=lambda setting: -setting.visual_tokens)
        until = started + each * _SHARES["training"]
        steps += measure_training(name, settings, batch, repetitions, until)
        free_memory()
        found = measure_answers(
            name,
            settings,
            parse_numbers(text_tokens),
            parse_numbers(batches),
            repetitions,
            each * _SHARES["latency"],
        )
        latencies.append(found[0])
        answers.append(found[1])
        free_memory()
    training = pd.DataFrame(steps)
    if "step_ms" in training:
        training["mfu"] = training["gflops"] / (training["step_ms"] / 1e3) / peak
    about = {**describe(gpu or "unnamed", peak), "repetitions": repetitions, "minutes": minutes}
    tables = {
        "training": training,
        "latency": pd.concat(latencies, ignore_index=True),
        "evaluation": pd.concat(answers, ignore_index=True),
    }
    for kind, table in tables.items():
        file = folder / f"{kind}_{gpu or 'unnamed'}_gpu.parquet"
        write_parquet(file, table, about)
        print(f"\n{file}\n{table.to_string(max_cols=14)}")


if __name__ == "__main__":
    typer.run(main)
