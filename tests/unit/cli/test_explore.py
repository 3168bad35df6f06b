"""vlmscale explore: the page of given scores, of a study, of the released ones."""

import json
import re

import pandas as pd
import pytest

from tests.support.cli import call, error_of, recommend, usage_error_of, write_csv


def read_data(page):
    """Return the data of a page."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


def test_writes_a_law_for_each_family_method_and_budget(tmp_path, scores):
    parts = [
        scores.assign(method=method, family=family, budget=budget, score=part * scores["score"])
        for method, part in (("a", 1.0), ("b", 0.9))
        for family in ("reasoning", "maths")
        for budget in ("full", "short")
    ]
    table = pd.concat(parts)
    page = tmp_path / "page.html"
    path = write_csv(tmp_path, table)
    assert call("explore", "--scores", path, "--output", page) == f"{page}\n"
    data = read_data(page)
    found = [(law["name"], law["budget_of_training"]) for law in data["laws"]]
    assert found == [
        (f"{family}: {method}", budget)
        for budget in ("full", "short")
        for family in ("reasoning", "maths")
        for method in ("a", "b")
    ]
    # The law is that of `vlmscale recommend`.
    asked = ("--gflops", 2000, "--scores", path, "--methods", "b", "--family", "maths")
    law = recommend(*asked)["law"]
    (fit,) = [each["fit"] for each in data["laws"][:4] if each["name"] == "maths: b"]
    assert fit == {name: law[name] for name in ("amplitude", "alpha", "beta", "floor")}
    call("explore", "--scores", path, "--methods", "a", "--output", page)
    assert {law["name"] for law in read_data(page)["laws"]} == {"reasoning", "maths"}


def test_scores_without_names_of_llms(tmp_path, scores):
    page = tmp_path / "page.html"
    path = write_csv(tmp_path, scores)
    call("explore", "--scores", path, "--output", page)
    (law,) = read_data(page)["laws"]
    assert law["name"] == "the task of these scores"
    assert [llm["name"] for llm in law["llms"]] == ["0.5B", "1.8B", "4B", "7B"]


def test_scores_with_names_of_llms(tmp_path, scores):
    page = tmp_path / "page.html"
    named = scores.assign(llm=scores["n_params_b"].map("mine-{:g}".format), seed=0)
    path = write_csv(tmp_path, pd.concat([named, named.assign(seed=1)]))
    call("explore", "--scores", path, "--output", page)
    (law,) = read_data(page)["laws"]
    assert [llm["name"] for llm in law["llms"]] == ["mine-0.5", "mine-1.8", "mine-4", "mine-7"]
    assert len(law["points"]) == 2 * len(scores)


def test_without_scores_it_is_the_paper(tmp_path):
    page = tmp_path / "page.html"
    call("explore", "--output", page)
    data = read_data(page)
    assert [law["name"] for law in data["laws"]] == ["reasoning", "ocr"]
    assert data["laws"][0]["llms"][-1] == {"name": "Qwen1.5-14B", "n": 14.0, "measured": False}


def test_a_study_has_its_own_page(tmp_path):
    assert "has no explorer.html" in error_of("explore", tmp_path)
    page = tmp_path / "explorer.html"
    page.write_text("a page")
    assert call("explore", tmp_path) == f"{page}\n"
    assert page.read_text() == "a page"


def test_opens_the_page(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", lambda url: opened.append(url) or 0)
    (tmp_path / "explorer.html").touch()
    call("explore", tmp_path, "--open")
    assert opened == [str(tmp_path / "explorer.html")]
    monkeypatch.setattr("typer.launch", lambda url: 1)
    assert "no browser could be started; open" in error_of("explore", tmp_path, "--open")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study", "--scores", "points.csv"], "not both"),
        (["--methods", "a"], "--methods chooses among"),
        (["{file}"], "give a table of scores with --scores"),
    ],
)
def test_wrong_arguments(tmp_path, scores, arguments, words):
    file = write_csv(tmp_path, scores)
    given = [argument.format(file=file) for argument in arguments]
    assert words in usage_error_of("explore", *given)


def test_damaged_scores_are_refused(tmp_path, scores):
    page = tmp_path / "page.html"
    bad = write_csv(tmp_path, scores.drop(columns="score"))
    assert "'score' or 'error'" in error_of("explore", "--scores", bad, "--output", page)
    assert not page.exists()
