"""LLaVA-Mini: what its four layers see, what they change, and what they leave."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Model

from tests.support.projectors import make_features, make_llm_input, make_projector
from tests.support.samples import conversations, model_inputs
from vlmscale.costs.flops import count_positions, fusion_gflops
from vlmscale.costs.shapes import Decoder, Tower, find_shape, load_shapes, read_decoder
from vlmscale.costs.sharing import Reuse, exact_answer_gflops
from vlmscale.models.conversation import IGNORED
from vlmscale.models.projectors.llava_mini import arrange
from vlmscale.training.data import Collate

PATCHES, V, TEXT = 36, 4, 5
QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]


def make_given(features, text=TEXT, seed=2):
    projector = make_projector("llava_mini", V)
    for parameter in projector.layers.parameters():  # sharp, so that what is seen matters
        parameter.data.mul_(8 if parameter.ndim == 2 else 1)
    with torch.no_grad():
        tokens, context = projector(features), projector.make_context(features)
    return projector, make_llm_input(tokens, context, text, seed)


def mix(projector, given):
    with torch.no_grad():
        return projector.prepare_llm_input(given).embeds


def test_the_layers_are_transformers_own_over_patches_tokens_and_text():
    """One plain causal pass: patches, visual tokens, text, in this order."""
    projector, given = make_given(make_features())
    llm = Qwen2Model(projector.layer_config).eval()
    llm.layers, llm.norm = projector.layers, torch.nn.Identity()
    with torch.no_grad():
        whole = llm(inputs_embeds=torch.cat([given.context, given.embeds], dim=1))
    expected = whole.last_hidden_state[:, PATCHES:]
    torch.testing.assert_close(mix(projector, given), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(expected, given.embeds, atol=1e-2)


def test_text_before_the_image_and_padding_change_no_place_in_the_layers():
    """The same tokens with their image in the middle and padding on the left are mixed alike."""
    projector, given = make_given(make_features())
    expected = mix(projector, given)
    order = [*range(V, V + 2), *range(V), *range(V + 2, V + TEXT)]  # two words, image, three words
    padding = torch.full((2, 3, given.embeds.shape[2]), 9.0)
    none = torch.zeros(2, 3, dtype=torch.bool)
    moved = replace(
        given,
        embeds=torch.cat([padding, given.embeds[:, order]], dim=1),
        places=torch.cat([none, given.places[:, order]], dim=1),
        instructions=torch.cat([none, given.instructions[:, order]], dim=1),
    )
    found = mix(projector, moved)
    torch.testing.assert_close(found[:, 3:], expected[:, order], atol=1e-5, rtol=1e-4)
    assert torch.equal(found[:, :3], padding)


def test_without_their_branches_the_layers_change_nothing():
    projector, given = make_given(make_features())
    for layer in projector.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    assert torch.equal(mix(projector, given), given.embeds)


def test_text_changes_with_the_image_and_tokens_do_not_with_the_text():
    projector, given = make_given(make_features())
    first = mix(projector, given)
    other = mix(projector, replace(given, context=given.context.flip(0)))
    assert (first - other).abs()[:, V:].amax(dim=2).min() > 1e-3
    asked = mix(projector, make_llm_input(given.embeds[:, :V], given.context, TEXT, seed=5))
    assert torch.equal(asked[:, :V], first[:, :V])
    assert (first - asked).abs()[:, V:].amax(dim=2).min() > 1e-3


def test_answers_and_texts_without_an_image_keep_their_embeddings():
    """Answers are seen by no other position, either."""
    projector, given = make_given(make_features(b=3))
    given = replace(
        given,
        places=given.places & torch.tensor([[True], [False], [True]]),
        context=given.context[::2],
        instructions=given.instructions & (torch.arange(V + TEXT) != V + 2),
    )
    found = mix(projector, given)
    assert torch.equal(found[1], given.embeds[1])
    assert torch.equal(found[:, V + 2], given.embeds[:, V + 2])
    embeds = given.embeds.clone()
    embeds[:, V + 2] += 1
    again = mix(projector, replace(given, embeds=embeds))
    rest = [i for i in range(V + TEXT) if i != V + 2]
    assert torch.equal(again[:, rest], found[:, rest])


def test_questions_apart_are_mixed_as_if_asked_alone():
    """Turns 1 and 2 of two words each share the image and one word."""
    turn = torch.tensor([0] * (V + 1) + [1, 1, 2, 2])
    related = (turn == 0) | (turn[:, None] == turn)
    causal = torch.ones(V + TEXT, V + TEXT, dtype=torch.bool).tril()
    projector, given = make_given(make_features())
    found = mix(projector, replace(given, attention_mask=(related & causal).expand(2, 1, -1, -1)))
    for own in (1, 2):
        kept = (turn == 0) | (turn == own)
        alone = replace(
            given,
            embeds=given.embeds[:, kept],
            places=given.places[:, kept],
            instructions=given.instructions[:, kept],
        )
        torch.testing.assert_close(found[:, kept], mix(projector, alone), atol=1e-5, rtol=1e-4)


def test_embeddings_get_no_gradient_through_the_layers():
    projector, given = make_given(make_features())
    embeds = given.embeds.clone().requires_grad_()
    out = projector.prepare_llm_input(replace(given, embeds=embeds)).embeds
    out.square().sum().backward()
    assert embeds.grad[:, :V].abs().sum() > 0
    assert not embeds.grad[:, V:].any()


def test_positions_and_visibility_by_hand():
    """One patch; a word, a visual token, a word, an answer, a word."""
    places = torch.tensor([[False, True, False, False, False]])
    text = torch.tensor([[True, False, True, False, True]])
    mask, positions = arrange(places, text, 1, None)
    assert mask[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [1, 1, 1, 1, 0, 1],
    ]
    assert positions[0, [0, 1, 2, 3, 5]].tolist() == [0, 2, 1, 3, 4]


def test_training_mixes_instructions_alone_and_answers_mix_the_whole_prompt(build, images, splits):
    model, processor = build("llava_mini", V)
    seen = []
    model.model.multi_modal_projector.prepare_llm_input = lambda given: seen.append(given) or given
    data = conversations(splits["stage2"], processor)
    shown = next(sample for sample in data if sample.image is not None)
    batch = model_inputs(Collate(processor.tokenizer, False, "pixel_values")([shown], None))
    model.train()(**batch)
    model.eval()
    (given,) = seen
    is_text = batch["input_ids"] != model.config.image_token_index
    assert torch.equal(given.instructions, is_text & (batch["labels"] == IGNORED))
    assert (batch["labels"] != IGNORED).any()
    for use_cache, passes in ((True, 1), (False, 3)):
        seen.clear()
        inputs = processor.ask(images, QUESTIONS)
        model.generate(**inputs, max_new_tokens=3, eos_token_id=None, use_cache=use_cache)
        assert len(seen) == passes
        length = inputs["input_ids"].shape[1]
        for given in seen:
            assert torch.equal(
                given.instructions[:, :length] | given.places[:, :length],
                inputs["attention_mask"].bool(),
            )
            assert not given.instructions[:, length:].any()


def test_the_four_layers_cost_what_torch_counts():
    projector, given = make_given(make_features(b=1))
    decoder = read_decoder(projector.layer_config.to_dict())
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        projector.prepare_llm_input(given)
    image = count_positions(decoder, "llava_mini", V, patches=PATCHES)
    cost = fusion_gflops(decoder, image, TEXT)
    angles = 0.02 * cost.total  # and rotary ones
    counted = counter.get_total_flops() / 1e9 - cost.attention  # torch counts both halves
    assert counted == pytest.approx(cost.total, abs=angles)


def test_real_sizes():
    """One token of Vicuna-7B: the layers cost more than the LLM reads, and hold an eighth of it."""
    shapes = load_shapes()
    clip = find_shape(shapes, "CLIP-ViT-L/14-336", Tower)
    vicuna = find_shape(shapes, "Vicuna-7B", Decoder)
    assert 4 * vicuna.layer_parameters / 1e9 == pytest.approx(0.81, abs=0.005)
    image = count_positions(vicuna, "llava_mini", 1, patches=576)
    layers = fusion_gflops(vicuna, image, 50)
    assert (round(layers.projections), round(layers.attention)) == (1015, 13)
    shared = {"method": "llava_mini", "with_tower": False}
    whole = exact_answer_gflops(vicuna, clip, 1, 50, 0, reuse=Reuse(), **shared)
    assert whole == pytest.approx(layers.total + vicuna.prefill(1, 50).total)
    assert round(whole) == 1015 + 13 + 661
    for reuse in (Reuse(cached_text=True), Reuse(cached_image=True), Reuse(questions_per_image=9)):
        assert exact_answer_gflops(vicuna, clip, 1, 50, 0, reuse=reuse, **shared) == whole
        assert "llava_mini" in reuse.explain_full_prefix("llava_mini") or reuse.cached_text
