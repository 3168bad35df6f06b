"""Whatever the form or damage of a table, it is refused by one error or read as what it says."""

import random
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.table_cases import CELLS, Case, make_case
from tests.fuzz.tables import judge
from tests.support.cli import call_json, error_of
from vlmscale.analysis.laws.columns import parse_size, to_numbers
from vlmscale.errors import UserError

LIMITS = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}


@settings(max_examples=60, **LIMITS)
@given(rng=st.randoms(use_true_random=False))
def test_a_table_in_any_form_is_refused_or_sound(rng, tmp_path):
    case = make_case(rng)
    outcome, details = judge(case, tmp_path)
    assert outcome in ("refused", "sound"), f"{case.about}\n{case.content!r}\n{details}"


@settings(max_examples=25, **LIMITS)
@given(
    content=st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "ignore")),
    suffix=st.sampled_from([".csv", ".tsv", ".json", ".parquet"]),
)
def test_any_bytes_are_refused(content, suffix, tmp_path):
    assert judge(Case(suffix, content, None), tmp_path)[0] == "refused"


@pytest.mark.slow
def test_the_commands_take_what_the_door_takes(tmp_path):
    for number in range(4):
        case = make_case(random.Random(number))
        outcome, details = judge(case, tmp_path, commands=True)
        assert outcome in ("refused", "sound"), details


@pytest.mark.parametrize(("text", "size"), CELLS["n_params_b"])
def test_sizes_in_names(text, size):
    found = parse_size(text)
    assert found == size or (size is None and not (found and 0 < found <= 5000))


@given(st.lists(st.floats(0.001, 999, allow_subnormal=False), min_size=1, max_size=5))
def test_numbers_are_the_same_whatever_holds_them(values):
    plain = pd.Series(values, name="score")
    for changed in (
        plain.map(repr),
        plain.map(lambda value: f"  {value!r} "),
        plain.map(lambda value: Decimal(repr(value))),
        plain.astype("Float64"),
        plain.astype(object),
    ):
        assert to_numbers(changed, "t").tolist() == values


@pytest.mark.parametrize("value", [True, [1], "2024-01-01", pd.Timestamp("2024"), 1j, "x", b"1"])
def test_what_is_no_number_is_named_with_its_row(value):
    column = pd.Series([1.0, value], dtype=object, name="visual_tokens")
    with pytest.raises(UserError, match="column 'visual_tokens' must hold numbers; row 2 has"):
        to_numbers(column, "t")


@pytest.mark.slow
def test_many_rows_are_refused_at_once(tmp_path):
    rows = pd.DataFrame(
        {"n_params_b": [0.5, 7.0] * 500_000, "visual_tokens": [1, 4, 9, 16] * 250_000}
    )
    path = tmp_path / "many.parquet"
    rows.assign(score=0.5, seed=range(len(rows))).to_parquet(path)
    assert "1,000,000 rows are too many; average repeats first" in error_of("fit", path)


@pytest.mark.slow
def test_sizes_in_parameters_and_in_names_are_said(tmp_path, scores):
    for change, words in (
        (
            scores.assign(n_params_b=1e9 * scores["n_params_b"]),
            "count parameters, here divided by 10^9",
        ),
        (
            scores.assign(llm=scores["n_params_b"].map("Qwen1.5-{:g}B".format)).drop(
                columns="n_params_b"
            ),
            "N is the size in each LLM's name",
        ),
    ):
        path = tmp_path / "table.tsv"
        change.to_csv(path, sep="\t", index=False)
        fit = call_json("fit", path, "--draws", 0)["fits"][0]
        assert words in fit["size_axis"]
        assert fit["law"]["ratio"] == pytest.approx(4.697, rel=1e-3)
