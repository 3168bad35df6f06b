"""What is wrong with a config fits on a line, whatever stands in it."""

import pytest
from pydantic import BaseModel, ValidationError

from vlmscale.study.complaints import list_complaints


class Config(BaseModel):
    name: str


BLOCK = {"llms": ["Vicuna-7B"], "methods": ["mlp", "tokenpacker"], "seeds": [0, 1, 2]}


@pytest.mark.parametrize(
    "value",
    [
        [BLOCK] * 6,
        [[BLOCK] * 6] * 6,
        ["x" * 900] * 6,
        [{"k" * 40 + str(i): BLOCK} for i in range(5)],
    ],
    ids=["blocks", "nested", "long words", "long keys"],
)
def test_a_long_value_is_shortened(value):
    with pytest.raises(ValidationError) as caught:
        Config(name=value)
    (line,) = list_complaints(caught.value, "grid")
    assert line.startswith("grid.name: Input should be a valid string (got [")
    assert line.endswith("...)")
    assert len(line) < 160


def test_a_short_value_is_shown_whole():
    with pytest.raises(ValidationError) as caught:
        Config(name=["a", 1])
    assert list_complaints(caught.value) == ["name: Input should be a valid string (got ['a', 1])"]
