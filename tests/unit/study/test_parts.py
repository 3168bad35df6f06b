"""Names become folders: one that some file system refuses is refused."""

import copy

import pytest

from vlmscale.errors import UserError
from vlmscale.study.load import validate

NAMES = [
    *(
        "../x",
        "a/b",
        "a\\b",
        "-x",
        ".x",
        "",
        " ",
        "a b",
        "a\0",
        "a\n",
        "é",
        "x" * 51,
        "a$b",
        "a;b",
        "~",
    ),
    *("con", "NUL", "Aux.1", "com1", "x.", "x.json", "README.md", "report.html", "a__b"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_folder_everywhere_is_refused(raw, name):
    for change in (
        lambda r: r.update(study=name),
        lambda r: r["llms"].update({name: r["llms"]["d32"]}),
        lambda r: r["methods"].update({name: {"method": "mlp"}}),
        lambda r: r.update(budgets={name: {"steps": 5}}),
        lambda r: r["laws"]["series"].update({name: ["mlp"]}),
    ):
        changed = copy.deepcopy(raw)
        change(changed)
        with pytest.raises(UserError) as caught:
            validate(changed, "x")
        assert "\0" not in str(caught.value)
