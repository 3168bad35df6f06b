"""vlmscale summary: every verdict and every failed check."""

import pandas as pd
import pytest

from tests.support.cli import call, call_json, error_of


@pytest.fixture
def finished(tmp_path):
    """Tables of a study with one law, each verdict, and one failed check of two."""
    law = {"series": "tokenpacker", "family": "ocr", "alpha": 0.1, "beta": 0.2, "ratio": 0.5}
    law |= {"floor": 0.0, "floor_bound": "lower", "points": 12}
    span = {"series": "tokenpacker", "family": "ocr", "median": 0.1}
    intervals = [
        {**span, "scheme": scheme, "quantity": name, "low": low, "high": 9 * low}
        for scheme, low in (("cases", 0.7), ("sizes", 0.05))
        for name in ("alpha", "beta", "ratio")
    ]
    about = {"hypothesis": "planted", "series": "tokenpacker", "budget": "full", "family": "ocr"}
    verdicts = [
        {**about, "id": f"H{i}", "value": 0.3, "low": 0.1, "high": 0.4, "verdict": verdict}
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
        "0 (bound)",
        "✔ supported",
        "✘ contradicted",
        "? undecided",
        "H9 planted\n  – not tested    tokenpacker, full, ocr  no such cells",
        "Sanity: 1 of 2 checks fail",
        "run-a",
        f"audit: {finished / 'audit.md'}",
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
    assert len(report["verdicts"]) == 4
    assert "planted" in call("summary", finished)
