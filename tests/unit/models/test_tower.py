"""Towers of every family, in the files of their released checkpoints: what they give is read by name."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.support.towers import FAMILIES, LAYERS, PATCH, WIDTH, make_tower, write_tower
from vlmscale.errors import UserError
from vlmscale.methods import find_method, list_method_names
from vlmscale.models.checkpoint import assemble, load, load_tower
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.pixels import to_pixels
from vlmscale.models.tower import (
    compute_block_attention,
    compute_last_attention,
    compute_shrunk_patches,
    compute_tower_features,
    count_special_positions,
    find_grid_side,
)
from vlmscale.settings.towers import CLS_NEEDS
from vlmscale.training.features import encode_images
from vlmscale.training.spec import FeaturesSpec
from vlmscale.training.stages import train_stage

SIDE = 6  # patches
METHODS = list_method_names()
READS_CLS = [name for name in METHODS if CLS_NEEDS.intersection(find_method(name).needs)]
LAYERS_READ = [1, 2, 3]
# A tensor that a released file has by this name.
NAMED = {
    "clip_vision_model": "vision_model.pre_layrnorm.weight",
    "siglip_vision_model": "vision_model.head.probe",
    "dinov2": "encoder.layer.0.attention.attention.query.weight",
    "dinov2_with_registers": "embeddings.register_tokens",
}
CASES = [
    (family, method)
    for family, (*_, has_cls) in FAMILIES.items()
    for method in METHODS
    if has_cls or method not in READS_CLS
]


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    return {name: write_tower(name, folder / name) for name in FAMILIES}


@pytest.fixture(scope="module")
def assembled(backbones, towers):
    def assemble_with(family, method, tokens=None, **changes):
        tokens = tokens or find_method(method).list_counts(SIDE)[-2:][0]
        settings = {"feature_layers": LAYERS_READ, "template": "qa", "seed": 0, **changes}
        setting = find_method(method).make_setting(tokens)
        model, processor = assemble(backbones["llm"], towers[family], setting, **settings)
        return model.eval(), processor

    return assemble_with


def hidden_states(tower, pixels):
    """All hidden states, by hooks: the input of the first block, and the output of every block."""
    (blocks,) = [child for name, child in tower.encoder.named_children() if "layer" in name]
    found = []
    hooks = [blocks[0].register_forward_pre_hook(lambda _, args: found.append(args[0]))]
    hooks += [block.register_forward_hook(lambda *args: found.append(args[2])) for block in blocks]
    with torch.no_grad():
        tower(pixels)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_released_checkpoint_gives_its_vision_part(towers, family):
    """Tensor by tensor, whatever else the file holds, and by the names that it had when it was released."""
    _, kind, special, _ = FAMILIES[family]
    tower, _ = load_tower(towers[family])
    assert tower.config.model_type == kind
    assert count_special_positions(tower.config) == special
    assert find_grid_side(tower.config) == SIDE
    made, _ = make_tower(family)
    expected = getattr(made, "vision_model", made).state_dict()
    found = tower.state_dict()
    assert {name for name in expected if not name.startswith("head.")} == found.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    with safe_open(towers[family] / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert NAMED[kind] in names


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_hidden_states_with_special_positions_first(towers, family):
    tower, processor = load_tower(towers[family])
    pixels = to_pixels([Image.new("RGB", (60, 40), (90, 20, 200))], processor, "pad")
    states = hidden_states(tower.eval(), pixels)
    assert len(states) == LAYERS + 1
    features = compute_tower_features(tower, pixels, [0, LAYERS - 1, LAYERS])
    expected = torch.cat([states[0], states[LAYERS - 1], states[LAYERS]], dim=-1)
    assert torch.equal(features, expected)
    special = FAMILIES[family][2]
    assert features.shape == (1, special + SIDE**2, 3 * WIDTH)


@pytest.mark.parametrize("family", [name for name, (*_, cls) in FAMILIES.items() if cls])
def test_attention_and_keys_are_of_the_last_block_and_of_patches_alone(towers, family):
    """Queries and keys as the block itself projects them; registers take attention, and are no patches."""
    tower, _ = load_tower(towers[family])
    pixels = torch.randn(2, 3, PATCH * SIDE, PATCH * SIDE)
    block = (tower.encoder.layer if "dinov2" in family else tower.encoder.layers)[-1]
    attention = block.attention if "dinov2" in family else block.self_attn
    seen = {}
    for part in ("q_proj", "k_proj"):
        getattr(attention, part).register_forward_hook(
            lambda _, args, out, part=part: seen.update({part: out})
        )
    features = compute_tower_features(tower.eval(), pixels, [LAYERS - 1])
    query, key = seen["q_proj"], seen["k_proj"]
    weights, keys = compute_last_attention(tower, features)
    special = FAMILIES[family][2]
    scores = (query[:, 0, None] @ key.transpose(1, 2))[:, 0] / WIDTH**0.5
    torch.testing.assert_close(weights, scores.softmax(-1)[:, special:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(keys, key[:, special:], atol=1e-6, rtol=1e-5)
    assert weights.shape == (2, SIDE**2)


@pytest.mark.parametrize("family", [name for name, (*_, cls) in FAMILIES.items() if cls])
@pytest.mark.parametrize("block", [1, LAYERS - 1])
def test_attention_of_a_block_is_what_the_tower_itself_computes(towers, family, block):
    """Head by head, as transformers returns it."""
    tower, _ = load_tower(towers[family])
    tower.set_attn_implementation("eager")
    pixels = torch.randn(2, 3, PATCH * SIDE, PATCH * SIDE)
    with torch.no_grad():
        expected = tower.eval()(pixels, output_attentions=True).attentions[block]
    hidden, special = compute_tower_features(tower, pixels, [block]), FAMILIES[family][2]
    weights, keys = compute_block_attention(tower, hidden, block)
    torch.testing.assert_close(weights, expected[:, :, 0, special:], atol=1e-6, rtol=1e-5)
    assert weights.shape == (2, 4, SIDE**2)
    assert keys.shape == (2, SIDE**2, WIDTH)
    if block == LAYERS - 1:
        assert torch.equal(keys, compute_last_attention(tower, hidden)[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_shrunk_images_give_patches_alone(towers, family):
    tower, _ = load_tower(towers[family])
    pixels = torch.randn(2, 3, PATCH * SIDE, PATCH * SIDE)
    for side in (1, 3, 6):
        patches = compute_shrunk_patches(tower.eval(), pixels, side, layer=2)
        assert patches.shape == (2, side * side, WIDTH)
    whole = compute_tower_features(tower, pixels, [2])[:, FAMILIES[family][2] :]
    torch.testing.assert_close(patches, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_size_interpolates_positions_once(towers, family):
    """A tower for smaller images computes what the released one does, interpolating in every pass."""
    released, _ = load_tower(towers[family])
    tower, processor = load_tower(towers[family], 32)
    assert find_grid_side(tower.config) == 4
    assert tower.config.image_size == 32
    pixels = to_pixels([Image.new("RGB", (20, 50), (90, 20, 200))], processor, "pad")
    assert pixels.shape == (1, 3, 32, 32)
    expected = compute_tower_features(released.eval(), pixels, [LAYERS])
    assert torch.equal(compute_tower_features(tower.eval(), pixels, [LAYERS]), expected)
    if "dinov2" not in family:  # also without being told to interpolate
        assert torch.equal(tower(pixels, output_hidden_states=True).hidden_states[LAYERS], expected)
    with pytest.raises(UserError, match=r"image_size: 7 pixels hold no patch of 8"):
        load_tower(towers[family], 7)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_whole_squares_with_the_towers_own_normalisation(towers, family):
    _, processor = load_tower(towers[family])
    mean, deviation = np.array(processor.image_mean), np.array(processor.image_std)
    side = PATCH * SIDE
    # A frame at the very edge stays: nothing is cropped from a padded image.
    image = Image.new("RGB", (side, side), (255, 0, 0))
    image.paste((0, 255, 0), (2, 2, side - 2, side - 2))
    (pixels,) = to_pixels([image], processor, "pad")
    expected = (np.asarray(image) / 255 - mean) / deviation
    assert np.abs(pixels.numpy() - expected.transpose(2, 0, 1)).max() < 1e-5
    # Bars have the mean colour, the middle of a cropped image is not squeezed.
    wide = Image.new("RGB", (4 * side, side), (255, 0, 0))
    wide.paste((0, 255, 0), (side, 0, 3 * side, side))
    (padded,), (cropped,) = (to_pixels([wide], processor, aspect) for aspect in ("pad", "crop"))
    assert padded[:, 0, 0].abs().max() < 0.02
    green = (np.array([0, 1, 0]) - mean) / deviation
    assert np.abs(cropped.numpy() - green[:, None, None]).max() < 1e-5


def test_clips_image_processor_stays_as_it_is(backbones, towers):
    from transformers import AutoImageProcessor

    for folder in (backbones["tower"], towers["clip"]):
        own = AutoImageProcessor.from_pretrained(folder, backend="pil")
        assert load_tower(folder)[1].to_json_string() == own.to_json_string()


@pytest.mark.parametrize(("family", "method"), CASES)
def test_every_method_reads_every_tower(assembled, images, family, method):
    """Visual tokens from pixels and from stored features are equal; answers come, in batches as alone."""
    model, processor = assembled(family, method)
    questions = ["any red circle ?", "how many ?", "line 1 ?"]
    inputs = processor.ask(images, questions)
    reads = {k: v for k, v in inputs.items() if k.startswith("question")}
    with torch.no_grad():
        made = model.model.encode_images(pixel_values=inputs["pixel_values"], **reads)
        assert len(made.tokens) == 3 * model.model.multi_modal_projector.placeholders
        if "pixels" not in find_method(method).needs:
            features = compute_tower_features(
                model.model.vision_tower, inputs["pixel_values"], LAYERS_READ
            )
            stored = model.model.encode_images(vision_features=features, **reads)
            assert torch.equal(made.tokens, stored.tokens)
        batch = model(**inputs).logits[:, -1]
        alone = torch.cat(
            [
                model(**processor.ask([image], [question])).logits[:, -1]
                for image, question in zip(images, questions, strict=True)
            ]
        )
    torch.testing.assert_close(batch, alone, atol=1e-4, rtol=1e-3)
    out = model.generate(**inputs, max_new_tokens=3, eos_token_id=None)
    assert out.shape[1] == inputs["input_ids"].shape[1] + 3


@pytest.mark.parametrize("method", READS_CLS)
@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_a_method_that_needs_cls_is_refused_without_one(assembled, family, method):
    words = rf"{method} reads the attention of the tower's CLS position, and this tower has none"
    with pytest.raises(UserError, match=words):
        assembled(family, method)
    model, _ = assembled(family, "mlp")
    with pytest.raises(UserError, match="CLS position"):
        model.use_setting(find_method(method).make_setting(4))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_projector_alone_and_no_patch_is_lost(assembled, family):
    """The first patch is a patch: what it shows changes the first of all visual tokens."""
    model, processor = assembled(family, "mlp")
    image = Image.new("RGB", (48, 48), (128, 128, 128))
    changed = image.copy()
    changed.paste((255, 255, 255), (0, 0, PATCH, PATCH))
    with torch.no_grad():
        tokens = [
            model.model.encode_images(pixel_values=processor.to_pixels([each])).tokens
            for each in (image, changed)
        ]
    moved = (tokens[0] - tokens[1]).norm(dim=1)
    assert moved.argmax() == 0
    assert len(moved) == SIDE**2


@pytest.mark.parametrize("side", [27, 24])
def test_a_grid_of_27_is_refused_what_it_has_no_divisors_for(backbones, tmp_path, side):
    tower = write_tower("siglip", tmp_path, PATCH * side + 3)  # pixels that are no whole patch
    method = find_method("tokenpacker")
    counts = method.list_counts(side)
    assert counts == {27: [1, 9, 81, 729], 24: [1, 4, 9, 16, 36, 64, 144, 576]}[side]
    settings = {"feature_layers": [3], "template": "qa", "seed": 0}
    refused = {27: 4, 24: 81}[side]
    for tokens in (9, refused):
        setting = method.make_setting(tokens)
        if tokens == refused:
            with pytest.raises(ValueError, match=rf"visual_tokens={refused}: .* grid side {side}"):
                assemble(backbones["llm"], tower, setting, **settings)
            continue
        model, _ = assemble(backbones["llm"], tower, setting, **settings)
        features = torch.randn(1, side**2, WIDTH)
        with torch.no_grad():
            assert len(model.model.encode_images(vision_features=features).tokens) == tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_both_stages_train_save_and_answer(spec, splits, towers, tmp_path, images, family):
    """A step of each from pixels; the same loss from stored features; the saved folder gives the same."""
    recipe = {"steps": 1, "batch_size": 4, "learning_rate": 1e-3}
    shared = {"tower": towers[family], "recipe": recipe, "image_size": 32, "visual_tokens": 4}
    first = spec("first", kind="stage1", data=splits["stage1"], **shared)
    first = first.model_copy(update={"output": tmp_path / "projector.safetensors"})
    train_stage(first)
    trained = []
    for stored in (False, True):
        features = None
        if stored:
            features = tmp_path / "features"
            encode_images(
                FeaturesSpec(
                    data=splits["stage2"],
                    tower=towers[family],
                    feature_layers=LAYERS_READ,
                    image_size=32,
                    output=features,
                )
            )
            special = FAMILIES[family][2]
            assert FeatureStore(features).features.shape[1:] == (special + 16, 3 * WIDTH)
        run = spec(f"second{stored}", features=features, projector=first.output, **shared)
        train_stage(run)
        before = load_tower(towers[family], 32)[0].state_dict()
        model, processor = load(run.output)
        after = model.model.vision_tower.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        trained.append(model.state_dict())
        inputs = processor.ask(images, ["how many ?"] * 3)
        assert inputs["pixel_values"].shape[-2:] == (32, 32)
        assert model.eval().generate(**inputs, max_new_tokens=2).shape[0] == 3
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=1e-6, rtol=1e-4)
