import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest

from vlmscale.analysis.published import load_published_errors
from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.shapes import Decoder, Tower, load_shapes
from vlmscale.costs.sharing import Reuse
from vlmscale.report.explorer import list_laws, render_explorer
from vlmscale.report.explorer_costs import as_polynomial, describe_costs, list_costs, list_memories
from vlmscale.resources import find_resource
from vlmscale.study.selection import Selection

SERIES = {"published": Selection(("tokenpacker",))}


def test_writes_a_cost_as_its_coefficients():
    terms = [5.0, 2.0, 3.0, 0.25, 0.5, 0.125]

    def cost(q, g):
        return float(np.dot(terms, [1, q, g, q * q, q * g, g * g]))

    assert as_polynomial(cost) == pytest.approx(terms)


@pytest.mark.parametrize("cost", [lambda q, g: q**3, lambda q, g: max(q, 90), lambda q, g: g**0.5])
def test_refuses_a_cost_that_is_no_such_polynomial(cost):
    with pytest.raises(ValueError, match="no polynomial"):
        as_polynomial(cost)


@pytest.mark.parametrize("method", ["tokenpacker", "quecc", "mlp"])
def test_every_cost_is_that_of_the_cost_model(method):
    shapes = load_shapes()
    tower = shapes["CLIP-ViT-L/14-336"]
    assert isinstance(tower, Tower)
    decoders = {name: shape for name, shape in shapes.items() if isinstance(shape, Decoder)}
    ways = list_costs(
        {name: shape.nominal_b for name, shape in decoders.items()}, decoders, tower, method
    )
    v = 576
    data = describe_costs(ways, [v], method)
    for llm, decoder in decoders.items():
        for prompt, text in (("new", "new"), ("kept", "new"), ("cached", "cached")):
            (row,) = data["costs"]["exact_tower"]["llms"][llm][prompt]
            assert row[0] == v
            for q, g in ((3, 0), (77, 5), (900, 1000)):
                whole = answer_gflops(decoder, tower, method, v, q, g, text=text).total
                own = np.dot(row[2:], [1, q, g, q * q, q * g, g * g])
                assert row[1] + own == pytest.approx(whole, rel=1e-9)


def test_the_page_has_the_share_of_every_prompt():
    """The data of the page, with a share of an image's cost, are the price of that share."""
    shapes = {name: shape for name, shape in load_shapes().items() if isinstance(shape, Decoder)}
    tower = load_shapes()["CLIP-ViT-L/14-336"]
    assert isinstance(tower, Tower)
    sizes = {"Qwen1.5-4B": 4.0}
    ways = list_costs(sizes, shapes, tower, "tokenpacker")
    data = describe_costs(ways, [16, 144], "tokenpacker")
    for way, cost in ways.items():
        for prompt, options in (
            ("new", {"prompt_cache": False}),
            ("kept", {}),
            ("cached", {"cached_text": True}),
        ):
            for v, image, *own in data["costs"][way]["llms"]["Qwen1.5-4B"][prompt]:
                reuse = Reuse(questions_per_image=7, **options)
                price = cost.costs["Qwen1.5-4B"](int(v), 50, 3, reuse)
                assert image / 7 + np.dot(own, [1, 50, 3, 2500, 150, 9]) == pytest.approx(price)
    assert [data["sharing"][prompt]["prefix"] for prompt in ("new", "kept", "cached")] == [
        *(False, True, False)
    ]


def test_an_llm_without_a_shape_has_the_nominal_cost_alone():
    tower = load_shapes()["CLIP-ViT-L/14-336"]
    assert isinstance(tower, Tower)
    assert list(list_costs({"d20": 1e-5}, {}, tower, "tokenpacker")) == ["nominal", "nominal_tower"]


def test_lists_a_law_for_each_suite():
    laws = list_laws(
        load_published_errors(), SERIES, predicted={"Qwen1.5-14B": 14.0}, source="a table"
    )
    assert [law.name for law in laws] == ["reasoning", "ocr"]
    for law in laws:
        assert list(law.llms)[-1] == "Qwen1.5-14B"
        assert law.token_counts == [1, 4, 16, 36, 64, 144, 576]
        assert len(law.points) == 28


def test_laws_of_one_name_differ_in_their_training_budget():
    full = load_published_errors()
    worse = 1.1 * full["error"]
    errors = pd.concat([full.assign(budget="short", error=worse, score=1 - worse), full])
    series = {
        "mine_short": Selection(("tokenpacker",), "short"),
        "mine": Selection(("tokenpacker",)),
    }
    for extra, name in (
        ({}, "reasoning"),
        ({"other": Selection(("tokenpacker",))}, "reasoning: mine"),
    ):
        laws = list_laws(errors, {**series, **extra}, predicted={}, source="a table")
        mine = [law for law in laws if law.name == name]
        assert [law.budget for law in mine] == ["full", "short"]
        assert mine[0].law.predict(4.0, 16) < mine[1].law.predict(4.0, 16)
        assert laws[0].budget == "full"


def test_no_name_can_end_the_data_or_the_page():
    hostile = "</script><script>alert(1)</script>{{scripts}}"
    tower = load_shapes()["CLIP-ViT-L/14-336"]
    assert isinstance(tower, Tower)
    laws = list_laws(load_published_errors(), SERIES, predicted={hostile: 14.0}, source=hostile)
    page = render_explorer(
        hostile,
        hostile,
        laws,
        list_costs(laws[0].llms, {}, tower, "tokenpacker"),
        list_memories(laws[0].llms, {}, tower, "tokenpacker"),
        "tokenpacker",
    )
    assert page.count("</script>") == 2
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["title"] == hostile


def test_bundled_libraries_are_those_of_the_registry():
    """Their README names package, version and SHA-256 of each file."""
    folder = find_resource("pages/vendor")
    listed = dict(
        re.findall(r"\| (\S+\.js) \|.*\| ([0-9a-f]{64}) \|", (folder / "README.md").read_text())
    )
    assert set(listed) == {file.name for file in folder.glob("*.js")}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
