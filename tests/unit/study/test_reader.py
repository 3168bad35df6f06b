"""A config's text is read as written, or refused with its place."""

import json
import os

import pytest
import yaml

from tests.support.paths import ROOT
from vlmscale.errors import UserError
from vlmscale.study.load import load_study
from vlmscale.study.reader import parse_config, read_config, resolve_words

SMOKE = (ROOT / "config/smoke.yaml").read_text()
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)
)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_config_means_what_it_means_to_other_readers(path):
    assert read_config(path) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("1e3", 1000.0),
            (".5", 0.5),
            ("-3", -3),
            ("1_000", 1000),
            ("5.", 5.0),
            ("-.5e-3", -0.0005),
        ),
        *(("true", True), ("False", False), ("null", None), ("", None), ("~", None)),
        # YAML 1.1 would make other values of these.
        *((word, word) for word in ("yes", "on", "No", "off", "1:30", "010", "0x1f", "0o7", "0b1")),
        *(
            (word, word)
            for word in (".inf", "-.inf", ".NaN", "2026-01-01", "1.5.5", "1e", "_1", "00")
        ),
    ],
)
def test_a_word_or_number_is_that_of_json_or_text(text, value):
    found = parse_config(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))
    assert resolve_words({"a": [text]}) == {"a": [value]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["'a' stands twice, in lines 1 and 3"]),
        ("a:\n  b: 1\n  'b': 2", ["'b' stands twice, in lines 2 and 3"]),
        ("a: [{b: 1, b: 2}]", ["'b' stands twice, in line 1"]),
        ("<<: {a: 1}\n<<: {b: 1}", ["'<<' stands twice"]),
        ("a: !!python/name:os.system", ["line 1", "remove the tag"]),
        ("a: !!python/object/apply:os.system [ls]", ["remove the tag"]),
        ("a: !!int 010", ["remove the tag"]),
        ("a: !!set {b}", ["remove the tag"]),
        ("!!map {a: 1}", ["remove the tag"]),
        ("1: x", ["line 1", "a key must be text"]),
        ("true: x", ["a key must be text"]),
        ("[a]: x", ["a key must be text"]),
        ("a: &a [*a]", ["values with aliases written out"]),
        (BOMB, ["values with aliases written out"]),
        ("a: " + "[" * 5000, ["nested too deeply"]),
        ("a: " + "9" * 5000, ["digits"]),
        ("a: 1\n---\na: 2", ["expected a single document"]),
        ("a: \0", ["#x0000"]),
        ("# " + "x" * 300_000, ["more than 200,000 bytes"]),
        ("- a", ["expected keys and values at the top level"]),
        ("__use_yte__: true", ["__use_yte__ makes it a program"]),
        ("__definitions__: [import os]", ["__definitions__ makes it a program"]),
    ],
)
def test_what_would_be_another_value_or_a_program_is_refused(tmp_path, text, words):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(file)
    for word in ("x.yaml", *words):
        assert word in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp1252"])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path, encoding):
    file = tmp_path / "x.yaml"
    file.write_text(f"# é\n{SMOKE}", encoding)
    with pytest.raises(UserError, match=r"x\.yaml is not text in UTF-8.*Save it as UTF-8"):
        load_study(file)


def test_a_byte_order_mark_is_skipped(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(SMOKE, "utf-8-sig")
    assert load_study(file) == load_study(ROOT / "config/smoke.yaml")


@pytest.mark.parametrize("name", ["no.yaml", ".", "\0.yaml"])
def test_what_cannot_be_opened_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot be read"):
        load_study(f"{tmp_path}/{name}")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.yaml")
    for path in (tmp_path / "x.yaml", "/dev/zero", tmp_path):
        with pytest.raises(UserError, match="not a file"):
            load_study(path)


def test_lines_may_end_as_on_windows(tmp_path):
    (tmp_path / "x.yaml").write_bytes(SMOKE.replace("\n", "\r\n").encode())
    assert load_study(tmp_path / "x.yaml") == load_study(ROOT / "config/smoke.yaml")


def test_json_is_read_by_the_same_rules(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(yaml.safe_load(SMOKE), indent=1))
    assert load_study(tmp_path / "x.json") == load_study(ROOT / "config/smoke.yaml")


def test_later_files_and_changes_replace_single_keys(tmp_path):
    smoke = ROOT / "config/smoke.yaml"
    (tmp_path / "more.yaml").write_text("laws: {seed: 5}\n")
    study = load_study(smoke, tmp_path / "more.yaml", changes={"stage2": {"batch_size": "4"}})
    same = load_study(smoke)
    assert (study.laws.seed, study.stage2.batch_size) == (5, 4)
    assert study.laws.series == same.laws.series
    assert study.stage2.learning_rate == same.stage2.learning_rate


def test_an_empty_file_is_no_study(tmp_path):
    for text in ("", "{}", "# nothing\n"):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(UserError, match="stage1: Field required"):
            load_study(tmp_path / "x.yaml")
