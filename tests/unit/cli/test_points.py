"""Tables of users: one clear error for each that cannot be read or fitted."""

import json
import os
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tests.support.cli import error_of, write_csv
from vlmscale.analysis.laws.power_law import fit_power_law
from vlmscale.cli.points import read_points
from vlmscale.errors import UserError
from vlmscale.records.parquet import write_parquet


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
        (
            "scores.txt",
            "a,b\n1,2\n",
            "its name must end in .csv, .tsv, .json or .parquet; name it .csv",
        ),
        ("scores.parquet", "a,b\n1,2\n", "scores.parquet cannot be read: "),
        ("scores.csv", "", "scores.csv is empty"),
        ("more.csv", "a,b\n1,2,3\n4,5\n6,7,8,9\n", "line 2 has 3 values, the head has 2 columns"),
    ):
        path = tmp_path / name
        path.write_text(content)
        assert words in error_of("fit", path)
    assert "is no regular file but a folder" in error_of("fit", _folder(tmp_path / "folder.csv"))


def _folder(path):
    path.mkdir()
    return path


def test_scores_of_two_protocols_are_refused(tmp_path, scores):
    own = scores.assign(protocol=["lmms", "llava15"] * (len(scores) // 2))
    path = write_csv(tmp_path, own)
    assert "scores of protocols lmms and llava15 meet" in error_of("fit", path)


FORMS = {
    "commas.csv": lambda t, path: t.to_csv(path, index=False),
    "UPPER.CSV": lambda t, path: t.to_csv(path, index=False),
    "semicolons.csv": lambda t, path: t.to_csv(path, index=False, sep=";"),
    "decimal_commas.csv": lambda t, path: t.to_csv(path, index=False, sep=";", decimal=","),
    "decimal_commas.tsv": lambda t, path: t.to_csv(path, index=False, sep="\t", decimal=","),
    "tabs.csv": lambda t, path: t.to_csv(path, index=False, sep="\t"),
    "tabs.tsv": lambda t, path: t.to_csv(path, index=False, sep="\t"),
    "bars.csv": lambda t, path: t.to_csv(path, index=False, sep="|"),
    "row_numbers.csv": lambda t, path: t.to_csv(path),
    "mark.csv": lambda t, path: t.to_csv(path, index=False, encoding="utf-8-sig"),
    "utf16.csv": lambda t, path: t.to_csv(path, index=False, encoding="utf-16"),
    "windows.csv": lambda t, path: t.to_csv(path, index=False, lineterminator="\r\n"),
    "old_mac.csv": lambda t, path: t.to_csv(path, index=False, lineterminator="\r"),
    "blank_lines.csv": lambda t, path: path.write_text("\n\n" + t.to_csv(index=False) + "\n \n"),
    "blanks.csv": lambda t, path: path.write_text(t.to_csv(index=False).replace(",", " , ")),
    "quotes.csv": lambda t, path: t.to_csv(path, index=False, quoting=1),
    "records.json": lambda t, path: t.to_json(path, orient="records"),
    "columns.json": lambda t, path: path.write_text(json.dumps(t.to_dict("list"))),
    "plain.parquet": lambda t, path: t.to_parquet(path),
    "text.parquet": lambda t, path: t.astype(str).to_parquet(path),
    "decimals.parquet": lambda t, path: t.map(lambda x: Decimal(str(x))).to_parquet(path),
    "nullable.parquet": lambda t, path: t.convert_dtypes().to_parquet(path),
    "categories.parquet": lambda t, path: t.astype("category").to_parquet(path),
    "index.parquet": lambda t, path: t.set_index("visual_tokens").to_parquet(path),
    "heads.csv": lambda t, path: t.set_axis(
        [" N Params-B ", "VISUAL TOKENS", "Score"], axis=1
    ).to_csv(path, index=False),
    "percent.csv": lambda t, path: t.assign(score=[f"{100 * x:.2f} %" for x in t["score"]]).to_csv(
        path
    ),
    "billions.csv": lambda t, path: t.assign(n_params_b=t["n_params_b"].map("{}B".format)).to_csv(
        path
    ),
    "millions.csv": lambda t, path: t.assign(
        n_params_b=[f"{1000 * x:g}M" for x in t["n_params_b"]]
    ).to_csv(path),
    "in_words.csv": lambda t, path: t.assign(
        n_params_b=[f"{x} billion" if x < 5 else f"{x:g} B" for x in t["n_params_b"]]
    ).to_csv(path),
    "underscores.csv": lambda t, path: (
        t.rename(columns={"n_params_b": "llm"})
        .assign(llm=t["n_params_b"].map("llava_{:g}b_128k".format))
        .to_csv(path)
    ),
    "parameters.csv": lambda t, path: t.assign(n_params_b=1e9 * t["n_params_b"]).to_csv(path),
    "exponents.csv": lambda t, path: t.assign(n_params_b=t["n_params_b"].map("{}e9".format)).to_csv(
        path
    ),
    "names.csv": lambda t, path: (
        t.rename(columns={"n_params_b": "llm"})
        .assign(llm=t["n_params_b"].map("Qwen1.5-{:g}B-Chat".format))
        .to_csv(path)
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_one_table_in_every_form(tmp_path, scores, name):
    scores = scores[["n_params_b", "visual_tokens", "score"]]
    path = tmp_path / name
    FORMS[name](scores, path)
    (found,) = read_points(path).values()
    expected = scores.assign(error=1 - scores["score"])
    pd.testing.assert_frame_equal(
        found[list(expected)].reset_index(drop=True), expected, check_dtype=False, rtol=1e-9
    )


CSV = "n_params_b,visual_tokens,score\n0.5,1,0.4\n0.5,4,0.5\n7,1,0.6\n7,4,0.7\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "two.csv",
            CSV.replace("score", "error,error").replace(",0.", ",0.3,0."),
            "'error' stands twice",
        ),
        (
            "two.csv",
            CSV.replace("score", "error,Error").replace(",0.", ",0.3,0."),
            "two columns are called",
        ),
        (
            "short.csv",
            CSV + "7,9\n",
            "line 6 has 2 values, the head has 3 columns separated by ','",
        ),
        ("long.csv", CSV.replace("1,0.4", "1,0,4"), "line 2 has 4 values"),
        (
            "latin.csv",
            CSV.replace("7,4,0.7", "7,4,é").encode("latin-1"),
            "line 5: byte 0xe9 is no UTF-8",
        ),
        ("utf16.csv", CSV.encode("utf-16-le"), "holds zero bytes; save the table as CSV in UTF-8"),
        ("quote.csv", CSV.replace("0.4", '"0.4'), "cannot be read as CSV: line 5"),
        ("date.csv", CSV.replace("7,", "2024-01-01,"), "'2024-01-01' states no LLM size"),
        ("mixed.csv", CSV.replace("7,", "7e9,"), "Give all sizes in billions"),
        ("millions.csv", CSV.replace("7,", "7000,"), "Give all sizes in billions"),
        (
            "bool.csv",
            CSV.replace(",0.4", ",true"),
            "column 'score' must hold numbers; row 1 has 'true'",
        ),
        ("mean.csv", CSV + "3.75,2.5,0.55\n", "2.5 of row 5 is no whole number"),
        (
            "mean.csv",
            "llm,n_params_b,visual_tokens,score\na,1,1,0.4\na,1,4,0.5\nb,7,1,0.6\nMean,3,2,0.5\n",
            "'Mean' is no LLM",
        ),
        ("thousands.csv", CSV.replace(",4,", ",1.024,"), "1.024 of row 2 is no whole number"),
        (
            "thousands.csv",
            CSV.replace(",", ";").replace(";4;", ";1,024;"),
            "a comma (1,024) and with a",
        ),
        (
            "thousands.csv",
            CSV.replace(",", ";").replace(".", ",").replace(";1;", ";1.000;"),
            "with a comma (0,5) and with a point (1.000)",
        ),
        ("python.csv", CSV.replace(",4,", ",1_024,"), "must hold numbers; row 2 has '1_024'"),
        ("percent.csv", CSV.replace("score", "score (%)"), "the head 'score (%)' says"),
        ("percent.csv", CSV.replace("score", "% Error"), "the head '% Error' says"),
        (
            "wide.csv",
            "n_params_b,V=1,V=4\n0.5,0.4,0.5\n7,0.6,0.7\n",
            "Make a row of each value in its columns of token counts",
        ),
        ("wide.csv", "llm,1,4\nx-7B,0.4,0.5\n", "Make a row of each value"),
        (
            "no_method.csv",
            "method," + CSV.replace("\n", "\nmlp,", 3).replace("\n7,4", "\n,7,4"),
            "column 'method' has missing values",
        ),
        (
            "no_llm.csv",
            "llm," + CSV.replace("\n", "\nx,", 3).replace("\n7,4", "\n,7,4"),
            "column 'llm' has missing values",
        ),
        (
            "one_llm.csv",
            "llm," + CSV.replace("\n", "\nQwen1.5,", 4),
            "the LLM 'Qwen1.5' has several sizes, N = 0.5, 7",
        ),
        (
            "in_millions.csv",
            "llm," + CSV.replace("\n0.5", "\na-500M,500").replace("\n7", "\na-7B,7"),
            "'a-500M' has N = 500 in column 'n_params_b', which counts billions; its name says 0.5",
        ),
        ("context.csv", CSV.replace("n_params_b", "llm").replace("7,", "x-128k,"), "no LLM size"),
        ("lines.jsonl", '{"score": 1}\n{"score": 2}\n', "as one JSON list"),
        ("few.csv", CSV.replace(",4,", ",0.25,"), "column 'visual_tokens' must be positive"),
        (
            "other.csv",
            CSV.replace("score", "accuracy"),
            "The table has: n_params_b, visual_tokens, acc",
        ),
        ("values.json", "[[1, 2], [3, 4]]", "needed is a list of rows, each an object"),
        ("twice.json", '[{"score": 1, "score": 2}]', "column 'score' stands twice"),
        ("deep.json", "[" * 100_000, "nested too deeply"),
        ("long.csv", CSV.replace("score", "s" * 200), "the name of column 3 has 200 characters"),
        (
            "lost.csv",  # UTF-16 without its 12th byte: nothing behind that is a separator
            b"\xff\xfe" + (4 * CSV).encode("utf-16-le")[:11] + (4 * CSV).encode("utf-16-le")[12:-1],
            "in another encoding than it says",
        ),
        ("broken.json", "{", "cannot be read: "),
        ("sheet.xlsx", "PK", "save the sheet as CSV"),
        ("packed.csv.gz", "x", "unpack it"),
        ("cut.parquet", b"PAR1" + bytes(100) + b"PAR1", "cut.parquet cannot be read"),
        (
            "names.csv",
            CSV.replace("n_params_b", "llm").replace("7,", "phi-3-mini,"),
            "states no LLM size",
        ),
        (
            "experts.csv",
            CSV.replace("n_params_b", "llm").replace("7,", "8x7B,"),
            "states no LLM size",
        ),
    ],
)
def test_one_clear_error_for_each_bad_table(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        read_points(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)


@pytest.mark.parametrize("source", [None, 3, [1], {"score": [1]}, pd.Series([1.0]), b"x.csv"])
def test_what_is_neither_table_nor_file_is_refused(source):
    with pytest.raises(UserError, match=r"needed is a table .* not an object of type"):
        read_points(source)


@pytest.mark.parametrize(
    "option", [("--loss", "huber"), ("--loss", "absolute"), ("--weights", "relative")]
)
@pytest.mark.parametrize("error", [0.0, 1e-320, 1e-12])
def test_an_error_of_nearly_0_has_no_logarithm(tmp_path, scores, option, error):
    table = scores.assign(error=[error, *(1 - scores["score"])[1:]]).drop(columns="score")
    text = error_of("fit", write_csv(tmp_path, table), *option)
    assert "0, which has no logarithm and no relative size" in text


@pytest.mark.parametrize("column", ["seed", "llm", "family"])
def test_lists_as_labels_are_refused(tmp_path, scores, column):
    path = tmp_path / "lists.parquet"
    scores.assign(**{column: [[1]] * len(scores)}).to_parquet(path)
    assert f"column {column!r} holds lists" in error_of("fit", path)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "no regular file but a folder, pipe or device" in error_of("fit", tmp_path / "pipe.csv")


def test_a_damaged_result_is_refused(tmp_path, scores):
    path = tmp_path / "errors.parquet"
    write_parquet(path, scores, {})
    assert len(read_points(path)[""]) == len(scores)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    assert "is damaged" in error_of("fit", path)


def test_python_refuses_text_where_the_door_converts_it(scores):
    text = scores.assign(
        error=1 - scores["score"], visual_tokens=scores["visual_tokens"].astype(str)
    )
    with pytest.raises(
        UserError, match=r"must hold numbers, not str; convert it with vlmscale\.read_points"
    ):
        fit_power_law(text)
    assert fit_power_law(read_points(text)[""]).ratio == pytest.approx(4.697, rel=1e-3)
