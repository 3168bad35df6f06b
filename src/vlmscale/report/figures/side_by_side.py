"""The laws of a study beside those of the paper's released scores: exponents with 95 % intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from vlmscale.analysis.collect import require_one_protocol
from vlmscale.report.figures.panels import entry
from vlmscale.report.figures.style import DARK, ROW, draw_filled_or_open, finish, new_figure
from vlmscale.report.tables import add_intervals

RELEASED = "released scores"
_SYMBOLS = {"alpha": "α", "beta": "β", "ratio": "α / β"}
_ENDS = ["low", "value", "high"]
_REACH = 3  # an axis ends where its intervals do, but no farther than this times its points


def draw(
    laws: pd.DataFrame,
    intervals: pd.DataFrame,
    released_laws: pd.DataFrame,
    released_intervals: pd.DataFrame,
    *,
    title: str,
) -> Figure:
    """Draw one panel a quantity, one row a law; in each family of the study the released law comes last.

    laws: of tabulate_laws, with intervals. Open: D is at a bound. An arrow stands where an interval or a
    point leaves the axis. The title says what N counts in each. Raises UserError where they are of two
    protocols.
    """
    require_one_protocol(laws, released_laws)
    released = add_intervals(released_laws, released_intervals).assign(series=RELEASED)
    families = released["family"][released["family"].isin(laws["family"])].tolist()
    rows = pd.concat([add_intervals(laws, intervals), released])
    rows = rows[rows["family"].isin(families)]
    rows["order"] = rows["family"].map(families.index)
    rows["at_bound"] = rows["floor_bound"] != "interior"
    rows = rows.sort_values("order", kind="stable", ignore_index=True)
    # Above each family a row for its name.
    rows["place"] = rows.index + rows["order"] + 1
    names = rows.groupby("family", sort=False)["place"].min() - 1
    last = rows["place"].max()
    figure, axes = new_figure(1, len(_SYMBOLS), (10.5, 1.6 + ROW * (last + 1)), sharey=True)
    for ax, (quantity, symbol) in zip(axes[0], _SYMBOLS.items(), strict=True):
        columns = dict(zip([f"{quantity}_low", quantity, f"{quantity}_high"], _ENDS, strict=True))
        shown = rows[["place", "series", "at_bound", *columns]].rename(columns=columns)
        (_ratio_axis if quantity == "ratio" else _exponent_axis)(ax, shown)
        _draw_panel(ax, shown)
        ax.set_xlabel(symbol)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
    first = axes[0][0]
    first.set_yticks([*rows["place"], *names], [*rows["series"], *names.index])
    for label in first.get_yticklabels()[len(rows) :]:
        label.set_fontweight("bold")
    first.set_ylim(last + 0.6, -0.6)
    handles = [
        entry("D within its bounds", marker="o", ls=""),
        entry("D at a bound", marker="o", mfc="white", ls=""),
        entry("beyond the axis", marker=">", ls=""),
    ]
    axes_of_n = [table["size_axis"].iloc[0] for table in (laws, released_laws)]
    counted = "N of both {}" if len(set(axes_of_n)) == 1 else "N {}, of theirs {}"
    words = f"laws beside those of the released scores; {counted.format(*axes_of_n)}"
    return finish(
        figure, f"{title}: {words}", handles, loc="outside lower right", ncols=len(handles)
    )


def _exponent_axis(ax: Axes, shown: pd.DataFrame) -> None:
    end = shown[_ENDS].max(axis=None)
    right = 1.05 * max(min(end, _REACH * shown["value"].max()), 0.01)
    ax.set_xlim(-0.02 * right, right)


def _ratio_axis(ax: Axes, shown: pd.DataFrame) -> None:
    """Make the axis logarithmic and mark 1."""
    values = shown["value"][(shown["value"] > 0) & np.isfinite(shown["value"])]
    least, most = min([*values, 0.8]), max([*values, 1.25])
    first, last = shown[_ENDS].min(axis=None), shown[_ENDS].max(axis=None)
    left, right = max(min(first, least), least / _REACH), min(max(last, most), most * _REACH)
    left, right = left / 1.1, right * 1.1
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < 200 * left else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.axvline(1, color=DARK, lw=1)
    for text, shift, side in (
        ("← tokens\nmatter more", -4, "right"),
        ("size →\nmatters more", 4, "left"),
    ):
        ax.annotate(
            text,
            (1, 1),
            xycoords=("data", "axes fraction"),
            xytext=(shift, 3),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontsize="x-small",
        )


def _draw_panel(ax: Axes, shown: pd.DataFrame) -> None:
    """Draw interval, point, arrows and, at the right, numbers of each row; the axis has its limits."""
    left, right = ax.get_xlim()
    theirs = shown["series"] == RELEASED
    for which, colour in ((~theirs, "C0"), (theirs, DARK)):
        rows = shown[which]
        ends = rows[["low", "high"]].clip(left, right)
        ax.hlines(rows["place"], ends["low"], ends["high"], color=colour, lw=1)
        inside = rows[rows["value"].between(left, right)]
        draw_filled_or_open(ax, inside["value"], inside["place"], ~inside["at_bound"], colour)
        reach = rows[_ENDS]
        for limit, marker, beyond in ((left, "<", reach < left), (right, ">", reach > right)):
            # One by one: an empty line that is not clipped would upset the layout.
            for place in rows["place"][beyond.any(axis=1)]:
                ax.plot(limit, place, marker, color=colour, ms=5, clip_on=False, zorder=3)
    for row in shown.to_dict("records"):
        low, value, high = (
            "unbounded" if np.isinf(row[end]) else f"{row[end]:.3g}" for end in _ENDS
        )
        interval = f" [{low}, {high}]" if row["low"] < row["high"] else " [at the bound]"
        interval = "" if np.isnan(row["low"]) else interval
        ax.annotate(
            f"{value}{interval}",
            (1, row["place"]),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small",
            annotation_clip=False,
        )
