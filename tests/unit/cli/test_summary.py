"""vlmscale summary: every verdict and every failed check."""

import pandas as pd
import pytest

from tests.support.cli import call, call_json, error_of


@pytest.fixture
def finished(tmp_path):
    """Tables of a study with one law, each verdict, and one failed check of two."""
    law = {"series": "tokenpacker", "family": "ocr", "alpha": 0.1, "beta": 0.2, "ratio": 0.5}
    law |= {"floor": 0.0, "floor_bound": "lower", "points": 12, "bounds": "D at its lower bound, 0"}
    span = {"series": "tokenpacker", "family": "ocr", "median": 0.1}
    intervals = [
        {**span, "scheme": scheme, "quantity": name, "low": low, "high": 9 * low}
        for scheme, low in (("cases", 0.7), ("sizes", 0.05))
        for name in ("alpha", "beta", "ratio")
    ]
    about = {"hypothesis": "planted", "series": "tokenpacker", "budget": "full", "family": "ocr"}
    verdicts = [
        {
            **about,
            "id": f"H{i}",
            "value": 0.3,
            "low": 0.1,
            "high": 0.4,
            "p": 0.0123,
            "p_holm": 0.037,
        }
        | {"verdict": verdict}
        for i, verdict in enumerate(["supported", "contradicted", "undecided"])
    ]
    verdicts.append({**about, "id": "H9", "verdict": "not tested", "note": "no such cells"})
    check = {"budget": "full", "value": 1.5, "reference": 1.0, "note": ""}
    sanity = [
        {**check, "check": "training loss falls", "subject": "run-a", "holds": False},
        {**check, "check": "training loss falls", "subject": "run-b", "holds": True},
    ]
    tables = {"laws": [law], "intervals": intervals, "verdicts": verdicts, "sanity": sanity}
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def test_prints_verdicts_and_failed_checks(finished):
    text = call("summary", finished)
    for words in (
        "0.1 [0.05, 0.45]",
        "p 0.012, 0.037 by Holm",
        "0 (bound)",
        "✔ supported",
        "✘ contradicted",
        "? undecided",
        "H9 planted\n  – not tested    tokenpacker, full, ocr  no such cells",
        "Sanity: 1 of 2 checks fail",
        "run-a",
        f"audit of the paper's claims: {finished / 'audit.md'}",
    ):
        assert words in text
    assert "run-b" not in text
    sanity = pd.read_parquet(finished / "sanity.parquet")
    sanity.assign(holds=True).to_parquet(finished / "sanity.parquet")
    assert "all 2 checks hold" in call("summary", finished)


def test_json_has_every_number(finished):
    report = call_json("summary", finished)
    (law,) = report["laws"]
    assert (law["alpha"], law["alpha_low"], law["alpha_high"]) == (0.1, 0.05, pytest.approx(0.45))
    assert law["resampled"] == "sizes"
    assert [row["id"] for row in report["verdicts"]] == ["H0", "H1", "H2", "H9"]
    assert report["verdicts"][3]["value"] is None
    assert report["sanity"]["checks"] == 2
    assert [row["subject"] for row in report["sanity"]["failed"]] == ["run-a"]
    assert set(report["where"]) == {"figures", "tables", "audit"}


def test_summary_of_no_finished_study(finished):
    (finished / "verdicts.parquet").unlink()
    text = error_of("summary", finished)
    assert text.startswith(
        f"error: {finished} holds no finished study: verdicts.parquet is missing"
    )
    assert "holds no finished study: verdicts.parquet" in error_of("summary", finished / "none")


def test_summary_of_a_study_without_a_law(finished):
    for name in ("laws", "intervals"):
        (finished / f"{name}.parquet").unlink()
    report = call_json("summary", finished)
    assert report["laws"] == []
    assert len(report["findings"]) == 1
    assert len(report["verdicts"]) == 4
    assert "planted" in call("summary", finished)


def test_names_the_pages_to_open(finished):
    assert "explorer.html" not in call("summary", finished)
    (finished / "explorer.html").touch()
    (finished / "gallery.html").touch()
    text = call("summary", finished).rstrip()
    assert text.endswith(f"gallery (what each model answered): {finished / 'gallery.html'}")
    assert f"explorer (which LLM, how many tokens?): {finished / 'explorer.html'}" in text
    (finished.parent / "report.html").touch()
    assert call("summary", finished).rstrip().endswith(str(finished.parent / "report.html"))


def test_says_what_was_found_in_three_sentences(finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    laws = pd.read_parquet(finished / "laws.parquet")
    reasoning = laws.assign(family="reasoning", alpha=1.0, beta=0.5, ratio=2.0, floor=0.25)
    other = laws.assign(series="quecc")
    short = laws.assign(series="tokenpacker_short", alpha=5.0)
    pd.concat([short, reasoning, laws, other]).to_parquet(finished / "laws.parquet")
    intervals = pd.read_parquet(finished / "intervals.parquet")
    brief = intervals.assign(series="tokenpacker_short")
    sure = intervals.assign(family="reasoning", low=1.2, high=3.0)
    pd.concat([sure, intervals, intervals.assign(series="quecc"), brief]).to_parquet(
        finished / "intervals.parquet"
    )
    first, second, third = call_json("summary", finished)["findings"]
    assert first == (
        "Reasoning about images: an LLM of twice the size lowers the error (what is above 0.25 of it) by 50 %, "
        "twice the visual tokens an image by 29 %, so a larger LLM pays more than more visual tokens."
    )
    # 2^-0.1 and 2^-0.2; the interval of the ratio, 0.05 to 0.45, lies below 1.
    assert second == (
        "Reading text in images: an LLM of twice the size lowers the error by 6.7 %, twice the visual tokens "
        "an image by 13 %, so more visual tokens pay more than a larger LLM."
    )
    assert third == (
        "Hypotheses written down before the study, case by case: 1 supported, 1 contradicted, 1 undecided, 1 "
        "not tested; 1 of 2 checks that the models learned fail: trust the laws no further."
    )
    assert f"What was found\n1. {first}\n2. {second}\n3. {third}\n" in call("summary", finished)
    wide = intervals.assign(low=0.5, high=2.0)
    wide.to_parquet(finished / "intervals.parquet")
    laws.to_parquet(finished / "laws.parquet")
    uncertain, _ = call_json("summary", finished)["findings"]
    assert uncertain.endswith("but which of the two pays more is not certain with these models.")


@pytest.mark.parametrize(
    ("name", "column"),
    [("verdicts", "p"), ("sanity", "holds"), ("laws", "alpha"), ("intervals", "low")],
)
def test_results_of_another_version_are_refused(finished, name, column):
    file = finished / f"{name}.parquet"
    pd.read_parquet(file).drop(columns=column).to_parquet(file)
    text = error_of("summary", finished)
    assert f"{name}.parquet was made by another version: it has no column {column!r}" in text


@pytest.mark.parametrize("name", ["verdicts", "sanity", "laws", "intervals"])
def test_damaged_results_are_refused(finished, name):
    file = finished / f"{name}.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert f"{name}.parquet cannot be read" in error_of("summary", finished)


def test_every_active_bound_is_shown(finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a narrow terminal folds the words
    assert "D at its lower bound, 0" in call("summary", finished)
