"""Scenes and pages grow with the difficulty, and facts are held out as configured."""

from collections import Counter

import numpy as np
import pytest

from tests.support.worlds import FULL, WORLDS, list_held_out, make_asker
from vlmscale.data.world.scenes import draw_page, draw_scene
from vlmscale.settings import World


def sizes(difficulty, rng, number=3000):
    world = World(**FULL, difficulty=difficulty)
    objects = Counter(len(draw_scene(world, rng).objects) for _ in range(number))
    pages = [draw_page(world, rng) for _ in range(number)]
    return (
        objects,
        Counter(len(page.lines) for page in pages),
        Counter(len(page.lines[0]) for page in pages),
    )


def test_difficulty_goes_from_fewest_to_most(rng):
    assert [set(counts) for counts in sizes(0, rng, 100)] == [{1}, {1}, {2}]
    assert [set(counts) for counts in sizes(1, rng, 100)] == [{4}, {4}, {4}]
    means = []
    for difficulty in (0.2, 0.5, 0.8):
        counts = sizes(difficulty, rng)
        means.append([sum(n * times for n, times in size.items()) / 3000 for size in counts])
        if difficulty == 0.5:
            for size, numbers in zip(counts, ([1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4]), strict=True):
                shares = {n: size[n] / 3000 for n in numbers}
                assert shares == pytest.approx(dict.fromkeys(numbers, 1 / len(numbers)), abs=0.04)
    assert (np.diff(means, axis=0) > 0.3).all()


def test_log_uniform_amounts_halve_as_they_double(rng):
    world, number = WORLDS["graded"], 6000
    objects = Counter(len(draw_scene(world, rng).objects) for _ in range(number))
    pages = [draw_page(world, rng) for _ in range(number)]
    lines = Counter(len(page.lines) for page in pages)
    columns = Counter(len(page.lines[0]) for page in pages)
    for counts, most in ((objects, 7), (lines, 6), (columns, 6)):
        total = sum(1 / n for n in range(1, most + 1))
        shares = {n: counts[n] / number for n in range(1, most + 1)}
        assert shares == pytest.approx({n: 1 / n / total for n in shares}, abs=0.02)
    assert {page.list_cells().keys() >= {"f6"} for page in pages} == {True, False}


def calculations(world):
    ask, rng = make_asker(world, "test"), np.random.default_rng(0)
    return [ask.ask_calc(draw_scene(world, rng))[0] for _ in range(50)]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.99])
def test_the_configured_share_of_facts_is_held_out_but_none_of_r0(share):
    world = World(held_out_facts=share)
    keys = list_held_out(world)
    assert not [key for key in keys if key[2] == "r0"]
    assert len(keys) / (8 * 8 * 7) == pytest.approx(share, abs=0.05)
    assert {question.split()[0] for question in calculations(world)} == {"r0"}
