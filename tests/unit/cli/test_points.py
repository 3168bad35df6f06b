"""Tables of users: one clear error for each that cannot be read or fitted."""

import numpy as np
import pandas as pd
import pytest

from tests.support.cli import error_of, write_csv


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="score"), "column 'score' or 'error' is missing"),
        (lambda t: t.drop(columns="n_params_b"), "column 'n_params_b' is missing"),
        (lambda t: t.assign(score=t["score"] * 100), "scores must lie in [0, 1]; divide"),
        (lambda t: t.assign(error=t["score"]), "'score' and 'error' differ"),
        (lambda t: t.assign(score="high"), "column 'score' must hold numbers"),
        (lambda t: t.assign(score=np.nan), "column 'score' has missing values"),
        (
            lambda t: t.assign(n_params_b=np.inf),
            "column 'n_params_b' has missing or infinite values",
        ),
        (lambda t: t.assign(visual_tokens=0), "column 'visual_tokens' must be positive"),
        (lambda t: t[t["n_params_b"] == 7], "all rows have the same n_params_b"),
        (lambda t: pd.concat([t, t]), "two rows for N = 0.5, V = 1; repeats need a column 'seed'"),
        (lambda t: t.iloc[:0], "has no rows"),
        (lambda t: t.assign(family=np.nan), "column 'family' has missing values"),
        (lambda t: t.assign(benchmark="pope"), "no row has benchmark 'mean'"),
    ],
)
def test_points_that_cannot_be_fitted(tmp_path, scores, change, words):
    path = write_csv(tmp_path, change(scores))
    text = error_of("fit", path)
    assert text.startswith(f"error: {path}")
    assert words in text


def test_files_that_are_no_tables(tmp_path):
    for name, content, words in (
        ("scores.txt", "a,b\n1,2\n", "its name must end in .csv or .parquet"),
        ("scores.parquet", "a,b\n1,2\n", "cannot be read as parquet"),
        ("scores.csv", "", "cannot be read as csv"),
        ("more.csv", "a,b\n1,2,3\n4,5\n6,7,8,9\n", "cannot be read as csv"),
    ):
        path = tmp_path / name
        path.write_text(content)
        assert words in error_of("fit", path)
    assert "cannot be read as csv" in error_of("fit", _folder(tmp_path / "folder.csv"))


def _folder(path):
    path.mkdir()
    return path


def test_scores_of_two_protocols_are_refused(tmp_path, scores):
    own = scores.assign(protocol=["lmms", "llava15"] * (len(scores) // 2))
    path = write_csv(tmp_path, own)
    assert "scores of protocols lmms and llava15 meet" in error_of("fit", path)
