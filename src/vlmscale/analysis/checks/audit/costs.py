"""Claims on cost (sections 1, 2.1 and 4)."""

import numpy as np

from vlmscale.analysis.checks.audit.checks import Measure, released
from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.costs.flops import answer_gflops, prefill_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape

_TEXT, _VISUAL = 50, 576
_TOWER = "CLIP-ViT-L/14-336"


@released("C36")
def proportional(evidence: Evidence) -> Measure:
    parts, shares = {}, {}
    for decoder in evidence.decoders.values():
        cost = decoder.prefill(_VISUAL, _TEXT)
        nominal = float(prefill_gflops(decoder.nominal_b, _VISUAL, _TEXT))
        parts[decoder.nominal_b] = cost.total / nominal
        shares[decoder.nominal_b] = 100 * cost.attention / cost.total
    listed = ", ".join(
        f"{n:g}B {ratio:.3f} (attention {shares[n]:.1f} %)" for n, ratio in parts.items()
    )
    return Measure(
        parts[7.0], how=f"{listed}. Nominal sizes distort between sizes: embeddings cost nothing."
    )


@released("C37")
def tower(evidence: Evidence) -> Measure:
    encoder = find_shape(evidence.architectures, _TOWER, Tower).gflops()
    decoder = evidence.decoders["Qwen1.5-7B"]
    settings = {
        "one token, text cached": decoder.prefill(1, 0).total,
        "1 + 50": decoder.prefill(1, 50).total,
        "576 + 50": decoder.prefill(_VISUAL, _TEXT).total,
    }
    listed = ", ".join(f"{name} {encoder / cost:.2f}" for name, cost in settings.items())
    return Measure(
        encoder / settings["one token, text cached"],
        how=f"The encoder takes {encoder:.0f} GFLOPs. Over 7B at {listed}. A constant cost leaves T* as it "
        "is, but not what an answer costs.",
    )


@released("C38")
def generated(evidence: Evidence) -> Measure:
    decoder = evidence.decoders["Qwen1.5-7B"]
    prompt = _TEXT + _VISUAL
    text = decoder.prefill(_VISUAL, _TEXT + 1).total - decoder.prefill(_VISUAL, _TEXT).total
    answer = decoder.decode(prompt, 1).total
    ratio = evidence.reasoning.law.ratio
    before, after = (
        float(optimal_tokens(ratio, q, low=1, high=_VISUAL)) for q in (_TEXT, _TEXT + 20)
    )
    return Measure(
        answer / text,
        how=f"The rest is the output head, which text tokens do without. 20 generated tokens at Q = 50 "
        f"move T* from {before:.2f} to {after:.2f}.",
    )


@released("C39")
def half_the_tokens(evidence: Evidence) -> Measure:
    ratios = [float(prefill_gflops(8, 288, q) / prefill_gflops(4, _VISUAL, q)) for q in (0, _TEXT)]
    return Measure(
        1 / ratios[0], how=f"At Q = 50 the 8B model costs {ratios[1]:.3f} times as much."
    )


@released("C40")
def compression(evidence: Evidence) -> Measure:
    printed = np.array(evidence.readings["compression_percent_text"])
    found = 100 * (1 - np.array([64, 1]) / _VISUAL)
    return Measure(
        float(np.abs(found - printed).max()),
        how=f"{found[0]:.2f} % at 64 tokens, {found[1]:.2f} % at 1.",
    )


@released("C41")
def modest_reduction(evidence: Evidence) -> Measure:
    factors = _VISUAL / np.array(evidence.readings["prior_tokens"])
    low, high = evidence.readings["prior_reduction_text"]
    listed = ", ".join(f"{factor:g}" for factor in factors)
    inside = ((factors >= low) & (factors <= high)).sum()
    return Measure(
        float(np.median(factors)),
        how=f"Reductions cited: {listed} times; {inside} of them within the range given as example.",
    )


@released("C51")
def text_pass(evidence: Evidence) -> Measure:
    decoder = find_shape(evidence.architectures, "Vicuna-7B", Decoder)
    encoder = find_shape(evidence.architectures, _TOWER, Tower)
    known = answer_gflops(decoder, encoder, "quecc", 1, _TEXT, text="known")
    new = answer_gflops(decoder, encoder, "quecc", 1, _TEXT, text="new")
    nominal = float(prefill_gflops(7, 1, 2 * _TEXT) / prefill_gflops(7, 1, _TEXT))
    ratio = evidence.reasoning.law.ratio
    doubled = float(optimal_tokens(ratio, 2 * _TEXT, low=1, high=_VISUAL))
    exact = new.without_tower / known.without_tower
    return Measure(
        known.total / (known.total - known.text_pass),
        how="A question that is new passes through the LLM once more, before the image is there: at "
        f"Q = 50, V = 1 {nominal:.2f} times the cost by 2 N T, {exact:.2f} times by exact count with the "
        f"compressor, and T*(50) becomes {doubled:.2f}.",
    )
