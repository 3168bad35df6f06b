"""The figures: they draw whatever design comes, and what they print is what they were given."""

import re

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.laws.intervals import find_intervals
from vlmscale.analysis.laws.power_law import fit_power_law, profile_floor
from vlmscale.analysis.laws.schemes import draw_laws
from vlmscale.analysis.published import load_published_errors
from vlmscale.costs.nominal import prefill_gflops
from vlmscale.errors import UserError
from vlmscale.report.figures import INPUTS, LAW_FIGURES, fig4
from vlmscale.report.figures.catalogue import DRAW, draw_figure
from vlmscale.report.figures.data import gather
from vlmscale.report.figures.style import save

pytestmark = pytest.mark.slow

PUBLISHED = load_published_errors()
CONFIGURATIONS = [("Qwen1.5-1.8B", 144), ("Qwen1.5-4B", 64), ("Qwen1.5-7B", 36)]
REFERENCE = ("Qwen1.5-0.5B", 576)


def law_data(points, *, text_tokens=(0, 50), predicted=None, printed=None):
    fitted = points[points["role"] == "fit"]
    law = fit_power_law(fitted)
    draws = [
        draw_laws(fitted, law, scheme, draws=200, seed=0).assign(scheme=scheme)
        for scheme in ("cases", "hierarchical")
    ]
    floors = np.linspace(-0.5, 0.95 * fitted["error"].min(), 15)
    return gather(
        points,
        law,
        pd.concat(draws, ignore_index=True),
        profile_floor(fitted, floors),
        title="a law",
        text_tokens=text_tokens,
        predicted=predicted or {},
        printed=printed,
    )


def small_design():
    """Two sizes, three counts without V = 1, two seeds, one count of another method."""
    rng = np.random.default_rng(1)
    cells = [
        (llm, n, tokens, seed)
        for llm, n in (("d24", 2.4e-5), ("d48", 1.1e-4))
        for tokens in (4, 9, 36)
        for seed in (0, 1)
    ]
    points = pd.DataFrame(cells, columns=["llm", "n_params_b", "visual_tokens", "seed"])
    law = 0.6 * points["n_params_b"] ** -0.03 * points["visual_tokens"] ** -0.05
    return points.assign(
        method=np.where(points["visual_tokens"] == 36, "mlp", "quecc"),
        role="fit",
        size_axis="total",
        error=law * (1 + 0.02 * rng.standard_normal(len(points))),
    )


def held_out_design():
    """The released reasoning scores with 7B held out, measured at two counts alone."""
    points = PUBLISHED[PUBLISHED["family"] == "reasoning"]
    largest = points["llm"] == "Qwen1.5-7B"
    points = points.assign(role=np.where(largest, "holdout", "fit"))
    return points[~largest | points["visual_tokens"].isin([16, 144])]


def design_without_effect(column):
    """Error rises with `column`, whose exponent is therefore 0 on its bound."""
    rows = [
        (llm, n, tokens)
        for llm, n in (("a", 0.1), ("b", 0.2), ("c", 0.4))
        for tokens in (1, 4, 9, 16)
    ]
    points = pd.DataFrame(rows, columns=["llm", "n_params_b", "visual_tokens"])
    other = ({"n_params_b", "visual_tokens"} - {column}).pop()
    error = 0.5 + 0.01 * np.log(points[column]) - 0.02 * np.log(points[other])
    return points.assign(method="mlp", seed=0, role="fit", size_axis="total", error=error)


@pytest.fixture(scope="module")
def designs():
    by_family = dict(iter(PUBLISHED.groupby("family")))
    return {
        "reasoning": law_data(
            by_family["reasoning"],
            predicted={"Qwen1.5-14B": 14.0},
            printed={"alpha": 0.077, "beta": 0.015},
        ),
        "ocr": law_data(by_family["ocr"], printed={"alpha": 0.029, "beta": 0.048}),
        "small": law_data(small_design(), text_tokens=(0, 10)),
        "held out": law_data(held_out_design()),
        "alpha is 0": law_data(design_without_effect("n_params_b")),
        "beta is 0": law_data(design_without_effect("visual_tokens")),
    }


def legend(figure):
    return [text.get_text() for shown in figure.legends for text in shown.get_texts()]


def drawn_points(ax):
    """(x, y) of the measured points of a cost panel, with the count in their label."""
    return {
        (collection.get_label(), *map(float, xy))
        for collection in ax.collections
        if collection.get_label().startswith("V = ")
        for xy in collection.get_offsets()
    }


def test_the_workflow_plans_the_figures_that_are_drawn():
    assert set(DRAW) == set(INPUTS)


@pytest.mark.parametrize("name", LAW_FIGURES)
@pytest.mark.parametrize(
    "design", ["reasoning", "ocr", "small", "held out", "alpha is 0", "beta is 0"]
)
def test_every_figure_of_every_design(designs, design, name):
    figure = DRAW[name](designs[design])
    figure.draw_without_rendering()  # warnings are errors
    assert all(ax.has_data() for ax in figure.axes)


@pytest.mark.parametrize("design", ["reasoning", "ocr", "small"])
def test_the_legend_shows_the_law(designs, design):
    data = designs[design]
    texts = "\n".join(legend(DRAW["fig1"](data)))
    for symbol, name in (("α", "alpha"), ("β", "beta")):
        found = re.search(rf"{symbol} = (\S+) \[(\S+), (\S+)\]", texts)
        low, high = find_intervals(data.draws[data.draws["scheme"] == data.scheme])[name]
        assert float(found[1]) == pytest.approx(getattr(data.law, name), abs=5e-5)
        assert float(found[2]) == pytest.approx(low, abs=5e-5)
        assert float(found[3]) == pytest.approx(high, abs=5e-5)
    assert float(re.search(r"D = (\S+)", texts)[1]) == pytest.approx(data.law.floor, rel=5e-3)
    assert data.scheme == "hierarchical"


@pytest.mark.parametrize("design", ["reasoning", "small"])
def test_figure_1_plots_the_seed_means(designs, design):
    data = designs[design]
    figure = DRAW["fig1"](data)
    means = data.points.groupby(["n_params_b", "visual_tokens"], as_index=False)["error"].mean()
    for ax, q in zip(figure.axes, data.text_tokens, strict=True):
        cost = prefill_gflops(means["n_params_b"], means["visual_tokens"], q)
        counts = [f"V = {count}" for count in means["visual_tokens"]]
        expected = set(zip(counts, cost.tolist(), means["error"], strict=True))
        assert drawn_points(ax) == expected


@pytest.mark.parametrize("design", ["reasoning", "ocr", "held out"])
@pytest.mark.parametrize("name", ["fig1", "fig2", "fig3b", "residuals"])
def test_no_legend_is_longer_than_its_figure(designs, design, name):
    """Token counts stand in rows below the panels, the rest beside them."""
    figure = DRAW[name](designs[design])
    figure.draw_without_rendering()
    beside, below = figure.legends
    assert below.get_texts()[0].get_text().startswith("V = ")
    assert len(beside.get_texts()) <= 13
    for shown in figure.legends:
        box = shown.get_window_extent()
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(ax.get_tightbbox()) for ax in figure.axes)


def test_a_form_that_fits_clearly_better_is_drawn_beside_the_law(designs):
    figure = DRAW["fig1"](designs["ocr"])
    rival = designs["ocr"].rival
    assert rival.form.name == "logit-linear"
    assert rival.gain == pytest.approx(43.5, abs=0.05)
    assert "fits better: AICc 44 less" in legend(figure)
    dashed = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 4
    # Printed in tables/forms.md by another path: the sum of squares of logit-linear.
    points = designs["ocr"].points
    missed = rival.predict(points["n_params_b"], points["visual_tokens"]) - points["error"]
    assert float((missed**2).sum()) == pytest.approx(1.208e-3, rel=1e-3)
    assert designs["small"].rival is None
    assert not any(
        line.get_linestyle() == "--" for line in DRAW["fig1"](designs["small"]).axes[0].get_lines()
    )


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig3a", "fig3b"])
def test_no_error_is_drawn_below_0_or_above_1(name):
    """A law whose exponents were fitted to steep scores leaves [0, 1] within its token counts."""
    rows = [
        (llm, n, tokens, min(0.999, 0.9 * n**-0.6 * tokens**-0.3))
        for llm, n in (("a", 0.8), ("b", 1.6), ("c", 3.2))
        for tokens in (1, 2, 64, 576)
    ]
    points = pd.DataFrame(rows, columns=["llm", "n_params_b", "visual_tokens", "error"])
    data = law_data(
        points.assign(method="mlp", seed=0, role="fit", size_axis="total"), predicted={"d": 0.2}
    )
    assert float(data.law.predict(0.2, 1.0)) > 1
    figure = DRAW[name](data)
    figure.draw_without_rendering()
    for line in figure.axes[0].get_lines():
        errors = np.asarray(line.get_ydata(), float)
        errors = errors[~np.isnan(errors)]
        assert ((errors >= 0) & (errors <= 1)).all()


def test_figure_2_shows_a_held_out_llm_where_it_was_measured(designs):
    data = designs["held out"]
    figure = DRAW["fig2"](data)
    ax = figure.axes[0]
    assert len(drawn_points(ax)) == 21 + 2
    # its curve is dashed and spans all counts, also those where it was not measured
    (curve,) = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert (curve.get_xdata()[0], curve.get_xdata()[-1]) == pytest.approx((14, 14 * 576))
    rows = data.points[data.points["role"] == "holdout"]
    predicted = data.law.predict(7.0, rows["visual_tokens"].to_numpy(float))
    percent = 100 * np.abs(predicted / rows["error"].to_numpy() - 1)
    texts = " ".join(legend(figure))
    found = re.search(r"Qwen1.5-7B, held out off (\S+) % on average, (\S+) % at most", texts)
    assert (float(found[1]), float(found[2])) == pytest.approx(
        (percent.mean(), percent.max()), abs=5e-3
    )


def test_figure_2_predicts_a_size_that_was_not_measured(designs):
    figure = DRAW["fig2"](designs["reasoning"])
    assert "Qwen1.5-14B, predicted" in legend(figure)
    assert len(drawn_points(figure.axes[0])) == 28
    (curve,) = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    # printed with four digits
    assert curve.get_ydata()[[0, -1]] == pytest.approx([0.4899, 0.4451], abs=5e-5)


def test_figure_3a_marks_the_crossovers(designs):
    figure = DRAW["fig3a"](designs["reasoning"])
    circles = [line for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    assert len(circles) == 7  # Q = 40, 50, ..., 100
    assert float(circles[-1].get_xdata()[0]) == pytest.approx(824.2, abs=0.1)
    assert "crossover, from Q = 33 on:" in legend(figure)
    assert "no crossover up to Q = 100" in legend(DRAW["fig3a"](designs["ocr"]))


def test_figure_3b_leaves_out_one_token(designs):
    data = designs["ocr"]
    figure = DRAW["fig3b"](data)
    assert "V = 1" not in legend(figure)
    assert len(drawn_points(figure.axes[0])) == 24
    law = data.without_one
    assert f"α = {law.alpha:.4f}, β = {law.beta:.4f}" in legend(figure)
    assert (law.alpha, law.beta) == pytest.approx((0.03047, 0.04472), rel=1e-3)
    assert designs["small"].without_one is None
    assert len(drawn_points(DRAW["fig3b"](designs["small"]).axes[0])) == 6


def test_the_optimum_is_drawn_between_one_and_the_most_tokens(designs):
    fitted = DRAW["optimum"](designs["reasoning"]).axes[0].get_lines()[1]
    at = dict(zip(fitted.get_xdata().tolist(), fitted.get_ydata().tolist(), strict=True))
    assert at[0] == 1
    assert at[50] == pytest.approx(13.52, abs=0.01)
    infinite = DRAW["optimum"](designs["ocr"]).axes[0].get_lines()[1]
    assert set(infinite.get_ydata()) == {576}


def test_figure_4_of_the_released_scores():
    families = dict(iter(PUBLISHED.groupby("family")))
    expected = {"reasoning": [10.14, 16.27, 19.00], "ocr": [-0.89, -0.17, -8.31]}
    for family, percent in expected.items():
        found = [fig4.change(families[family], c, REFERENCE, family) for c in CONFIGURATIONS]
        assert found == pytest.approx(percent, abs=0.005)
    figure = draw_figure(
        "fig4",
        {"errors": PUBLISHED},
        selection={"methods": ("tokenpacker",)},
        configurations=CONFIGURATIONS,
        reference=REFERENCE,
        title="scores",
    )
    figure.draw_without_rendering()
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert shown == {f"{value:+.2f}" for values in expected.values() for value in values}
    assert legend(figure)[0] == "Qwen1.5-1.8B, V = 144: 518.4"


def test_figure_4_names_a_missing_cell():
    with pytest.raises(UserError, match=r"reasoning: no score of Qwen1.5-7B with 9 visual tokens"):
        fig4.change(PUBLISHED, ("Qwen1.5-7B", 9), REFERENCE, "reasoning")


def test_the_same_data_give_the_same_bytes(designs, tmp_path):
    files = []
    for turn in ("first", "second"):
        pdf, png = tmp_path / f"{turn}.pdf", tmp_path / f"{turn}.png"
        save(DRAW["exponents"](designs["reasoning"]), pdf, png)
        files.append((pdf.read_bytes(), png.read_bytes()))
    assert files[0] == files[1]
