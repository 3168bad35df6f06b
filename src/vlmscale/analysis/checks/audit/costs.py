"""Claims on cost (sections 1, 2.1 and 4)."""

import numpy as np

from vlmscale.analysis.checks.audit.evidence import Evidence
from vlmscale.analysis.checks.audit.registry import released
from vlmscale.analysis.checks.engine import Finding
from vlmscale.analysis.laws.optimum import optimal_tokens
from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape

_TEXT, _VISUAL = 50, 576
_TOWER = "CLIP-ViT-L/14-336"


@released("C36")
def compare_with_nominal(evidence: Evidence) -> Finding:
    costs = {d.nominal_b: d.prefill(_VISUAL, _TEXT) for d in evidence.decoders.values()}
    ratios = {n: c.total / float(prefill_gflops(n, _VISUAL, _TEXT)) for n, c in costs.items()}
    listed = ", ".join(
        f"{n:g}B {ratios[n]:.3f} (attention {100 * cost.attention / cost.total:.1f} %)"
        for n, cost in costs.items()
    )
    note = f"{listed}. Nominal sizes distort between sizes: embeddings cost nothing."
    return Finding(ratios[7.0], note=note)


@released("C37")
def weigh_tower(evidence: Evidence) -> Finding:
    encoder = find_shape(evidence.architectures, _TOWER, Tower).gflops()
    decoder = evidence.decoders["Qwen1.5-7B"]
    settings = {
        "one token, text cached": decoder.prefill(1, 0).total,
        "1 + 50": decoder.prefill(1, 50).total,
        "576 + 50": decoder.prefill(_VISUAL, _TEXT).total,
    }
    listed = ", ".join(f"{name} {encoder / cost:.2f}" for name, cost in settings.items())
    return Finding(
        encoder / settings["one token, text cached"],
        note=f"The encoder takes {encoder:.0f} GFLOPs. Over 7B at {listed}. A constant cost does not "
        "move V*, but it adds to what an answer costs.",
    )


@released("C38")
def weigh_generated_token(evidence: Evidence) -> Finding:
    decoder = evidence.decoders["Qwen1.5-7B"]
    prompt = _TEXT + _VISUAL
    text = decoder.prefill(_VISUAL, _TEXT + 1).total - decoder.prefill(_VISUAL, _TEXT).total
    answer = decoder.decode(prompt, 1).total
    ratio = evidence.reasoning.law.ratio
    before, after = (
        float(optimal_tokens(ratio, q, low=1, high=_VISUAL)) for q in (_TEXT, _TEXT + 20)
    )
    return Finding(
        answer / text,
        note=f"The rest is the output head, which text tokens do without. 20 generated tokens at Q = 50 "
        f"move V* from {before:.2f} to {after:.2f}.",
    )


@released("C39")
def halve_tokens(evidence: Evidence) -> Finding:
    ratios = [float(prefill_gflops(8, 288, q) / prefill_gflops(4, _VISUAL, q)) for q in (0, _TEXT)]
    return Finding(
        1 / ratios[0], note=f"At Q = 50 the 8B model costs {ratios[1]:.3f} times as much."
    )


@released("C40")
def compute_compression(evidence: Evidence) -> Finding:
    printed = np.array(evidence.readings["compression_percent_text"])
    found = 100 * (1 - np.array([64, 1]) / _VISUAL)
    return Finding(
        float(np.abs(found - printed).max()),
        note=f"{found[0]:.2f} % at 64 tokens, {found[1]:.2f} % at 1.",
    )


@released("C41")
def list_reductions(evidence: Evidence) -> Finding:
    factors = _VISUAL / np.array(evidence.readings["prior_tokens"])
    low, high = evidence.readings["prior_reduction_text"]
    listed = ", ".join(f"{factor:g}" for factor in factors)
    inside = ((factors >= low) & (factors <= high)).sum()
    return Finding(
        float(np.median(factors)),
        note=f"Reductions cited: {listed} times; {inside} of them within the range given as example.",
    )


@released("C51")
def weigh_text_pass(evidence: Evidence) -> Finding:
    decoder = find_shape(evidence.architectures, "Vicuna-7B", Decoder)
    encoder = find_shape(evidence.architectures, _TOWER, Tower)
    known = answer_gflops(decoder, encoder, "quecc", 1, _TEXT, text="known")
    new = answer_gflops(decoder, encoder, "quecc", 1, _TEXT, text="new")
    nominal = float(prefill_gflops(7, 1, 2 * _TEXT) / prefill_gflops(7, 1, _TEXT))
    ratio = evidence.reasoning.law.ratio
    doubled = float(optimal_tokens(ratio, 2 * _TEXT, low=1, high=_VISUAL))
    exact = new.without_tower / known.without_tower
    return Finding(
        known.total / (known.total - known.text_pass),
        note="A question that is new passes through the LLM once more, before the image is there: at "
        f"Q = 50, V = 1 {nominal:.2f} times the cost by 2 N (Q + V), {exact:.2f} times by exact count with "
        f"the projector, and V*(50) becomes {doubled:.2f}.",
    )
