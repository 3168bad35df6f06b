"""List the methods, with the cost of each at the paper's widths."""

from rich.console import Console

from vlmscale.cli.output import Report, number, table
from vlmscale.costs.flops import compressor_gflops, compressor_parameters
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.methods import find_method, list_method_names

_TOWER, _LLM = "CLIP-ViT-L/14-336", "Vicuna-7B"
_TYPICAL = 36  # visual tokens at which costs are compared; else the count nearest to it


def list_methods() -> Report:
    """Return one entry per method: parameters and GFLOPs at CLIP-ViT-L/14-336, Vicuna-7B and V near 36."""
    shapes = load_shapes()
    tower, decoder = find_shape(shapes, _TOWER, Tower), find_shape(shapes, _LLM, Decoder)
    n, rows = decoder.hidden_size, []
    for name in list_method_names():
        declared = find_method(name)
        counts = declared.list_counts(tower.grid_side)
        typical = min(counts, key=lambda v: abs(v - _TYPICAL))
        rows.append(
            {
                "method": name,
                "summary": declared.summary,
                "source": declared.source,
                "visual_tokens": declared.counts,
                "from": counts[0],
                "to": counts[-1],
                "training": list(declared.options.get("training", ("trained",))),
                "served_by": {key: list(run) for key, run in declared.served_by.items()},
                "needs": list(declared.needs),
                "options": {key: list(values) for key, values in declared.options.items()},
                "at_visual_tokens": typical,
                "parameters": compressor_parameters(name, typical, tower=tower, llm_width=n),
                "gflops": compressor_gflops(name, typical, tower=tower, llm_width=n),
            }
        )
    return {"tower": _TOWER, "llm": _LLM, "methods": rows}


def show(console: Console, report: Report) -> None:
    """Print one row per method."""
    columns = ["method", "source", "visual tokens", "training", "reads", "at V", "M", "GFLOPs"]
    rows = [
        [
            row["method"],
            row["source"],
            f"{row['visual_tokens']}, {row['from']}-{row['to']}",
            ", ".join(row["training"]),
            ", ".join(row["needs"]) or "patches",
            str(row["at_visual_tokens"]),
            number(row["parameters"] / 1e6, 3),
            number(row["gflops"], 3),
        ]
        for row in report["methods"]
    ]
    title = f"Methods, on the 24 x 24 patches of {report['tower']} and into {report['llm']}"
    words = ["method", "source", "visual tokens", "training", "reads"]
    console.print(table(title, columns, rows, words=words))
    console.print(
        "training: how a cell gets its weights, default first. free: those of another method's run; "
        "elastic: one run for all counts. M: million parameters. Summaries and options: --json."
    )
