"""Pictures show what their patch tags say."""

import numpy as np

from tests.support.worlds import FULL, WORLD
from vlmscale.data.world.render import render_page, render_scene
from vlmscale.data.world.scenes import Object, Page, Scene, draw_page
from vlmscale.settings import World


def test_pages_have_varied_density_and_the_rest_is_empty(rng):
    world = World(**FULL)
    shapes = {(len(p.lines), len(p.lines[0])) for p in (draw_page(world, rng) for _ in range(500))}
    assert shapes == {(lines, columns) for lines in (1, 2, 3, 4) for columns in (2, 3, 4)}
    picture = render_page(world, Page(("AB",)), rng)
    tags = np.array(picture.tag_patches(12)["letter"]).reshape(4, 4)
    assert tags[0].tolist() == [1, 2, 0, 0]
    assert not tags[1:].any()
    pixels = np.asarray(picture.image)
    assert len(np.unique(pixels[12:].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(pixels[:12].reshape(-1, 3), axis=0)) > 1


def test_patch_tags_lie_where_the_object_is(rng):
    scene = Scene((Object("red", "circle", 0), Object("blue", "star", 8)))
    tags = render_scene(WORLD, scene, rng).tag_patches(8)
    colour = np.array(tags["colour"]).reshape(6, 6)
    assert set(colour[:3, :3].ravel()) == {0, 1}  # red, top left
    assert set(colour[3:, 3:].ravel()) == {0, 3}  # blue, bottom right
    assert set(tags["letter"]) == {0}
    picture = render_page(WORLD, Page(("AB", "CD")), rng)
    letters = np.array(picture.tag_patches(8)["letter"]).reshape(6, 6)
    assert set(letters[:3, :3].ravel()) == {1}  # A
    assert set(letters[3:, 3:].ravel()) == {4}  # D
