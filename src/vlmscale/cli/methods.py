"""List the methods, with the cost of each at the paper's widths."""

from rich.console import Console

from vlmscale.cli.output import Columns, Report, number, print_table
from vlmscale.costs.flops import compressor_gflops, compressor_parameters
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes
from vlmscale.errors import UserError
from vlmscale.methods import find_method, list_method_names

_TOWER, _LLM = "CLIP-ViT-L/14-336", "Vicuna-7B"
_TYPICAL = 36  # visual tokens at which costs are compared; else the count nearest to it


def list_methods() -> Report:
    """Return one entry per method: parameters and GFLOPs at CLIP-ViT-L/14-336, Vicuna-7B and V near 36.

    `broken` has the reason for each method whose file cannot be read.
    """
    shapes = load_shapes()
    tower, decoder = find_shape(shapes, _TOWER, Tower), find_shape(shapes, _LLM, Decoder)
    n, rows, broken = decoder.hidden_size, [], {}
    for name in list_method_names():
        try:
            declared = find_method(name)
        except UserError as error:
            broken[name] = str(error)
            continue
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
                "parameters": compressor_parameters(
                    name,
                    typical,
                    tower=tower,
                    llm_width=n,
                    layer_parameters=decoder.layer_parameters,
                ),
                "gflops": compressor_gflops(name, typical, tower=tower, llm_width=n),
            }
        )
    return {"tower": _TOWER, "llm": _LLM, "methods": rows, "broken": broken}


def show(console: Console, report: Report) -> None:
    """Print one row per method."""
    columns: Columns = {
        "method": "method",
        "source": "source",
        "visual tokens": lambda row: f"{row['visual_tokens']}, {row['from']}-{row['to']}",
        "training": lambda row: ", ".join(row["training"]),
        "reads": lambda row: ", ".join(row["needs"]) or "patches",
        "at V": "at_visual_tokens",
        "M": lambda row: number(row["parameters"] / 1e6, 3),
        "GFLOPs": lambda row: number(row["gflops"], 3),
    }
    title = f"Methods, on the 24 x 24 patches of {report['tower']} and into {report['llm']}"
    words = ["method", "source", "visual tokens", "training", "reads"]
    print_table(console, title, report["methods"], columns, words=words)
    for message in report["broken"].values():
        console.print(message)
    console.print(
        "training: how a cell gets its weights, default first. free: those of another method's run; "
        "elastic: one run for all counts. M: million parameters. Summaries and options: --json."
    )
