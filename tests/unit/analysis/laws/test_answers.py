"""Scores of groups of cells: paired over seeds and questions, refused where questions lack."""

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.laws.answers import resample_scores
from vlmscale.errors import UserError


def groups(scores):
    """A row a group (list) and seed; one benchmark."""
    return pd.DataFrame(
        [
            {"group": g, "seed": s, "cell": f"{g}.{s}", "benchmark": "b", "score": score}
            for g, seeds in enumerate(scores)
            for s, score in seeds.items()
        ]
    )


def test_a_draw_has_the_same_questions_and_seeds_for_all_groups():
    """Two groups whose answers differ by a constant differ by it in every draw, whatever the noise."""
    rng = np.random.default_rng(0)
    right = {f"{g}.{s}": rng.random(50) for g in (0,) for s in (0, 1)}
    right |= {f"1.{s}": right[f"0.{s}"] + 0.1 for s in (0, 1)}

    def answers(benchmark, cells):
        return pd.DataFrame(
            [
                {"cell": cell, "id": i, "score": score}
                for cell in cells
                for i, score in enumerate(right[cell])
            ]
        )

    # a metric that is no mean of answers: half of it
    cells = groups([{s: right[f"{g}.{s}"].mean() / 2 for s in (0, 1)} for g in (0, 1)])
    found = resample_scores(cells, answers, ["b"], draws=400, seed=0)
    difference = found.drawn[:, 1, 0] - found.drawn[:, 0, 0]
    assert difference == pytest.approx(0.05)
    assert (found.seeds, found.questions) == (2, 50)
    assert found.measured[:, 0] == pytest.approx(
        [0.5 * np.mean([right[f"{g}.{s}"] for s in (0, 1)]) for g in (0, 1)]
    )
    # variance of questions within seeds, and half of that between the two seeds
    within = np.mean([right[f"0.{s}"].var() / 50 for s in (0, 1)])
    assert found.drawn[:, 0, 0].std() > 0.7 * np.sqrt(within / 2)


def test_groups_without_a_common_seed_are_not_compared():
    assert resample_scores(groups([{0: 0.5}, {1: 0.5}]), None, ["b"], draws=2, seed=0) is None
    assert resample_scores(groups([{0: 0.5}]), None, ["b", "c"], draws=2, seed=0) is None


def test_refuses_a_cell_that_lacks_a_question():
    def answers(benchmark, cells):
        rows = [{"cell": c, "id": i, "score": 1.0} for c in cells for i in range(3)]
        return pd.DataFrame(rows[:-1])

    with pytest.raises(UserError, match=r"samples of b: cell 1\.0 lacks questions"):
        resample_scores(groups([{0: 0.5}, {0: 0.5}]), answers, ["b"], draws=2, seed=0)
