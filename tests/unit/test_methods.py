"""Declarations read from source agree with the classes, and reading them imports no torch."""

import shutil
import subprocess
import sys

import pytest

from vlmscale import methods
from vlmscale.cli.methods import list_methods
from vlmscale.costs.flops import compressor_gflops, compressor_parameters
from vlmscale.costs.shapes import Tower
from vlmscale.errors import UserError
from vlmscale.methods import (
    Method,
    Variant,
    evaluate_formula,
    find_method,
    find_variant,
    list_method_names,
)


@pytest.mark.parametrize("name", list_method_names())
def test_declaration_equals_class(name):
    from vlmscale.models.projectors.base import find_projector_class

    declared, cls = find_method(name), find_projector_class(name)
    assert (declared.needs, declared.counts) == (cls.needs, cls.counts)
    assert (declared.served_by, declared.options) == (cls.served_by, cls.options)
    assert (declared.weights, declared.multiply_adds) == (cls.weights, cls.multiply_adds)
    assert (declared.source, declared.positions) == (cls.source, cls.positions)
    assert (declared.kept, declared.stage2_copies) == (cls.kept, cls.stage2_copies)
    assert declared.fusion_layers == cls.fusion_layers
    assert declared.summary
    assert declared.source
    assert declared.weights
    assert declared.multiply_adds


@pytest.mark.parametrize("side", [24, 12, 10])
@pytest.mark.parametrize("name", list_method_names())
def test_declared_copies_are_the_counts_that_a_batch_is_trained_at(name, side):
    import numpy as np
    import torch

    from tests.support.projectors import make_llm_config
    from vlmscale.models.projectors.base import Widths, build_projector

    declared = find_method(name)
    most = declared.list_counts(side)[-1]
    with torch.device("meta"):
        widths = Widths(16, 4, 24, side, llm_config=make_llm_config(24))
        projector = build_projector(widths, declared.make_setting(most))
    for stage in ("stage1", "stage2"):
        counts = projector.draw_training_counts(stage, np.random.default_rng(0))
        assert declared.count_copies(side, stage) == len(counts)


def test_reading_a_config_and_expanding_its_grid_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from vlmscale.study.load import load_study;"
        "from vlmscale.study.grid import expand_grid; expand_grid(load_study(Path('config/smoke.yaml')));"
        "from vlmscale.jobs.fingerprint import fingerprint;"
        "fingerprint(['vlmscale.training.stages'], packages=['torch']);"
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def declare(counts="square", served_by=None, options=None):
    return Method(
        name="x",
        summary="",
        source="",
        needs=(),
        counts=counts,
        options=options or {},
        served_by=served_by or {},
        weights="0",
        multiply_adds="0",
        positions="v",
        kept="v",
        fusion_layers="0",
        stage2_copies="1",
    )


@pytest.mark.parametrize(
    ("counts", "side", "expected"),
    [
        ("square", 12, [1, 4, 9, 16, 36, 144]),
        ("square", 24, [1, 4, 9, 16, 36, 64, 144, 576]),
        ("square + 1", 6, [2, 5, 10, 37]),
        ("full", 6, [36]),
        ("any", 3, list(range(1, 10))),
        ("any to (2*w//3)**2", 6, list(range(1, 17))),
        ("multiples of 4", 4, [4, 8, 12, 16]),
    ],
)
def test_a_method_lists_the_visual_tokens_it_can_give(counts, side, expected):
    assert declare(counts).list_counts(side) == expected


def test_an_unknown_rule_of_counts_is_refused():
    with pytest.raises(UserError, match="counts='prime' is none of those"):
        declare("prime").list_counts(6)


def test_which_run_serves_a_cell():
    options = {"training": ("free", "trained")}
    pruned = declare("any", {"free": ("mlp", "full")}, options)
    assert Variant("x", pruned, {"training": "free"}).find_training(4, 12) == ("mlp", 144)
    assert Variant("x", pruned, {"training": "trained"}).find_training(4, 12) == ("x", 4)
    repeated = declare("multiples of 4", {"free": ("tokenpacker", 4)}, options)
    assert Variant("x", repeated, {"training": "free"}).find_training(36, 12) == ("tokenpacker", 4)
    elastic = declare("any to 20", {"elastic": ("self", "most")}, {"training": ("elastic",)})
    assert Variant("mine", elastic, {"training": "elastic"}).find_training(3, 12) == ("mine", 20)
    assert Variant("x", declare(), {}).find_training(4, 12) == ("x", 4)


def test_a_variant_is_a_method_with_options_and_a_name():
    configured = {"even": {"method": "tokenpacker", "query_resize": "avgpool"}}
    found = find_variant("even", configured)
    assert (found.name, found.method.name) == ("even", "tokenpacker")
    assert found.options["query_resize"] == "avgpool"
    assert find_variant("tokenpacker", configured).options["query_resize"] == "bilinear"
    with pytest.raises(UserError, match=r"methods\.even\.query_resize: 'cubic' is not allowed"):
        find_variant("even", {"even": {"method": "tokenpacker", "query_resize": "cubic"}})
    with pytest.raises(UserError, match="no method 'odd'"):
        find_variant("odd", configured)


def test_formulas_are_arithmetic_and_nothing_else():
    assert evaluate_formula("(2*w//3)**2 + v/2 - 1.5", {"w": 24, "v": 3}) == 256
    for formula in ("__import__('os')", "w.real", "unknown", "w if w else 1", "[1]"):
        with pytest.raises(UserError, match="is not allowed"):
            evaluate_formula(formula, {"w": 24})


def test_unknown_method_lists_the_known():
    with pytest.raises(UserError, match=r"no method 'magic'.*avgpool"):
        find_method("magic")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(text) makes the projector `mine` beside the others, which `find_method` then reads."""
    shutil.copytree(methods.PROJECTORS, tmp_path / "projectors")
    monkeypatch.setattr(methods, "PROJECTORS", tmp_path / "projectors")
    find_method.cache_clear()
    yield (tmp_path / "projectors" / "mine.py").write_text
    find_method.cache_clear()


MINE = '''
class Mine(Projector):
    """Mine."""

    source = "here"
    needs = ("multilayer",)
    counts = "square"
    options: ClassVar = {"training": ("trained", "free"), "rounds": ("2", "10"), "way": ("a", "b")}
    served_by: ClassVar = {"free": ("mlp", "full")}
    weights = "d*n + rounds*n"
    multiply_adds = 'v*d*n*rounds + (way == "b")*v*d'
'''


def test_a_cost_may_depend_on_options(write):
    write(MINE)
    tower, costs = Tower(1, 16, 1, 6, patch_size=1, feature_layers=1), []
    for options in ({}, {"rounds": "10"}, {"way": "b"}):
        parameters = compressor_parameters("mine", 4, tower=tower, llm_width=8, options=options)
        gflops = compressor_gflops("mine", 4, tower=tower, llm_width=8, options=options)
        costs.append((parameters, gflops * 1e9))
    assert costs == [(144, 2 * 1024), (208, 2 * 5120), (144, pytest.approx(2 * (1024 + 64)))]


WRONG = {
    "a letter in a formula": ("d*n + rounds*n", "d*n + q", "weights = .*'q' is not allowed"),
    "a formula that is no arithmetic": (
        "d*n + rounds*n",
        "d*n +",
        "weights = .*cannot be computed",
    ),
    "a division by nothing": ("d*n + rounds*n", "d/(d - 12)", "weights = .*cannot be computed"),
    "a text as a number": ("d*n + rounds*n", "d*way", "weights = .*cannot be computed"),
    "negative weights": ("d*n + rounds*n", "n - n*n", "weights = .*its value is -"),
    "no source": ('source = "here"', "", "source = '': declare a text"),
    "an empty source": ('"here"', '" "', "source = ' ': declare a text"),
    "no weights": ('weights = "d*n + rounds*n"', "", "weights = '': declare a text"),
    "weights of a number": ('"d*n + rounds*n"', "12", "weights = 12: declare a text"),
    "no multiply-adds": (
        "multiply_adds",
        "multiply",
        "multiply_adds = ''|Do you mean multiply_adds",
    ),
    "an unknown need": (
        '("multilayer",)',
        '("multilayr",)',
        "needs = .*some of multilayer, question",
    ),
    "a need that is a text": ('("multilayer",)', '"multilayer"', "needs = .*declare a tuple"),
    "an unknown count": ('"square"', '"prime"', "counts = 'prime'"),
    "a count of a number": ('"square"', "4", "counts = 4"),
    "a computed attribute": ('"here"', "str(1)", "source = str.1. is no literal"),
    "a name": ('("multilayer",)', "NEEDS", "needs = NEEDS is no literal"),
    "an option of a text": ('("2", "10")', '"2"', "options = "),
    "an option of numbers": ('("2", "10")', "(2, 10)", "options = "),
    "an option without values": ('("2", "10")', "()", "options = "),
    "options of a tuple": (
        '{"training": ("trained", "free"), "rounds": ("2", "10"), "way": ("a", "b")}',
        '("a",)',
        "options = ",
    ),
    "a misspelt attribute": (
        "options: ClassVar",
        "option: ClassVar",
        "option is no declaration. Do you mean options",
    ),
    "an unknown server": ('("mlp", "full")', '("mpl", "full")', "served_by = "),
    "an unknown count of the server": ('("mlp", "full")', '("mlp", "all")', "served_by = "),
    "a server of no training": ('{"free"', '{"fre"', "served_by = .*trained, free"),
    "a syntax error": (
        "class Mine(Projector):",
        "class Mine(Projector:",
        "line 2: it is no Python",
    ),
    "no class": ("Projector", "nn.Linear", "needs one subclass of Projector, not 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_declaration_names_file_and_attribute(write, case):
    old, new, message = WRONG[case]
    assert old in MINE
    write(MINE.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"projectors/mine\.py.*({message})"):
        find_method("mine")
    assert find_method("mlp").name == "mlp"


def test_a_broken_file_is_named_in_the_list_and_breaks_no_other(write):
    write("class Mine(")
    report = list_methods()
    assert list(report["broken"]) == ["mine"]
    assert "mine.py, line 1: it is no Python" in report["broken"]["mine"]
    assert {row["method"] for row in report["methods"]} == {*list_method_names()} - {"mine"}
