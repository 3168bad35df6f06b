"""Whatever happens to a config's text, it is refused by one error or means what it says."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.config_damage import BASES, damage
from tests.fuzz.configs import judge

GOOD = ("refused", "sound")


@pytest.mark.parametrize("name", BASES)
def test_an_undamaged_config_is_sound(name, tmp_path):
    assert judge(BASES[name].encode(), tmp_path) == ("sound", "")


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rng=st.randoms(use_true_random=False))
def test_a_damaged_config_is_refused_or_sound(rng, tmp_path):
    _, content = damage(rng)
    outcome, details = judge(content, tmp_path)
    assert outcome in GOOD, f"{content!r}\n{details}"


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(content, tmp_path):
    assert judge(content, tmp_path)[0] == "refused"
