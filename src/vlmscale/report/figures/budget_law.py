"""Training budgets: exponents of one law, V* by budget, and the LLM of the least lifetime cost."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vlmscale.analysis.laws.budget_tables import ALL, ALONE
from vlmscale.analysis.laws.intervals import is_inside
from vlmscale.report.figures.panels import colour_llms, entry
from vlmscale.report.figures.style import DARK, GREY, ROW, Colour, finish, new_figure

_EXPONENTS = {"alpha": "α", "beta": "β", "gamma": "γ"}
_MOVING = "moving exponents"
_BEYOND = 100.0  # times the last change of LLM, to which endless ranges are drawn
_PALE = 0.35  # of what may take up to ten times the training of the study


def draw(budget_law: pd.DataFrame, lifetime: pd.DataFrame, *, title: str) -> Figure:
    """Draw one row a law: its exponents, V* at the largest Q by budget, and the cheapest LLM by answers.

    budget_law: of describe_budgets. lifetime: of tabulate_lifetimes. Both with columns series, family.
    """
    optima = [c for c in map(str, budget_law) if c.startswith("tokens_at_") and c.count("_") == 2]
    most = max(optima, key=lambda name: int(name.removeprefix("tokens_at_")), default=None)
    laws = list(budget_law.groupby(["series", "family"], sort=False))
    errors = lifetime.groupby(["series", "family"])["target"].nunique()
    height = max(2.4, 0.9 + 1.5 * ROW * (errors.max() if len(errors) else 0))
    figure, axes = new_figure(max(len(laws), 1), 3, (11.5, 0.6 + height * max(len(laws), 1)))
    sizes = lifetime.groupby("llm")["n_params_b"].first().sort_values()
    colours = colour_llms(map(str, sizes.index))
    for row, ((series, family), law) in zip(axes, laws, strict=False):
        row[0].set_title(f"{series}, {family}", loc="left")
        _draw_exponents(row[0], law)
        if most is None:
            row[1].set_visible(False)
        else:
            _draw_optima(row[1], law, most)
        mine = (lifetime["series"] == series) & (lifetime["family"] == family)
        _draw_lifetimes(row[2], lifetime[mine], colours)
    handles: list[Patch | Line2D] = [entry("95 % interval", color=DARK, marker="o")]
    handles.append(entry(_MOVING, color=GREY, marker="s", ls=""))
    handles += [Patch(color=colour, label=llm) for llm, colour in colours.items()]
    handles.append(Patch(color=DARK, alpha=_PALE, label="up to 10 times the training"))
    return finish(figure, f"{title}: laws with a training budget", handles)


def _draw_exponents(ax: Axes, law: pd.DataFrame) -> None:
    """Draw the exponents over all budgets and of each budget alone; open outside their intervals."""
    kept = (law["form"] == ALONE) | ((law["form"] == "product") & (law["budget"] == ALL))
    names, place = [], 0
    for exponent, symbol in _EXPONENTS.items():
        for row in law[kept].to_dict("records"):
            if np.isnan(row[exponent]):
                continue
            ends = row[f"{exponent}_low"], row[f"{exponent}_high"]
            ax.hlines(place, *ends, color=DARK, lw=1.2)
            face = DARK if is_inside(row[exponent], *ends) else "white"
            ax.plot(row[exponent], place, "o", color=DARK, mfc=face, ms=5)
            names.append(f"{symbol}, {row['budget']}")
            place += 1
    ax.axvline(0, color=GREY, lw=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("exponent")


def _draw_optima(ax: Axes, law: pd.DataFrame, name: str) -> None:
    """Draw V* by samples: of each budget alone with its interval, and of moving exponents."""
    alone, moving = law[law["form"] == ALONE], law[law["form"] == _MOVING]
    ax.vlines(alone["samples"], alone[f"{name}_low"], alone[f"{name}_high"], color=DARK, lw=1.2)
    ax.plot(alone["samples"], alone[name], "o", color=DARK, ms=5)
    ax.plot(moving["samples"], moving[name], "s", color=GREY, ms=5)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks(sorted(alone["samples"]), labels=None)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.minorticks_off()
    ax.set_xlabel("samples of stage 2")
    ax.set_ylabel(f"V*({name.removeprefix('tokens_at_')})")


def _draw_lifetimes(ax: Axes, lifetime: pd.DataFrame, colours: dict[str, Colour]) -> None:
    """Draw two bars an error at the largest Q, from few answers to many, in the colours of LLMs."""
    mine = lifetime[lifetime["text_tokens"] == lifetime["text_tokens"].max()]
    ends = mine[["answers_from", "answers_to"]].to_numpy(float)
    changes = ends[(ends > 0) & np.isfinite(ends)]
    low, high = (changes.min(), changes.max()) if len(changes) else (1.0, 1.0)
    low, high = low / _BEYOND, high * _BEYOND
    names = mine["target"].unique().tolist()
    for row in mine.to_dict("records"):
        start, end = np.clip([row["answers_from"], row["answers_to"]], low, high)
        within = row["beyond"] == 1
        place = names.index(row["target"]) + (-0.2 if within else 0.2)
        bar = ax.barh(place, end - start, left=start, height=0.36, lw=0)
        bar[0].set_color(colours[str(row["llm"])])
        bar[0].set_alpha(1.0 if within else _PALE)
    labels = [f"{mine.loc[mine['target'] == name, 'target_error'].iloc[0]:.3f}" for name in names]
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_yticks(
        range(len(names)), [f"{e} ({name})" for e, name in zip(labels, names, strict=True)]
    )
    ax.invert_yaxis()
    ax.set_xlabel("answers")
    ax.set_ylabel("error")
    ax.grid(visible=False)
