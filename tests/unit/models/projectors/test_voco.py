"""VoCo-LLaMA against a mask written out pair by pair, and what follows from it."""

import pytest
import torch

from tests.support.projectors import make_features, make_projector
from tests.support.samples import conversations, model_inputs
from vlmscale.errors import UserError
from vlmscale.training.data import Collate

QUESTIONS = ["any red circle ?", "how many ?", "line 1 ?"]
PATCHES = 36


@pytest.fixture
def make(build):
    """make(tokens, **options) -> model and processor, with attention sharp enough to matter."""

    def make(tokens=2, **options):
        model, processor = build("voco", tokens, **options)
        with torch.no_grad():
            for parameter in model.model.language_model.parameters():
                parameter.mul_(4 if parameter.ndim == 2 else 1)
            model.model.multi_modal_projector.rows.mul_(50)
        return model, processor

    return make


def write_mask(places, hide):
    """Which keys (columns) each position of one sequence attends to, pair by pair."""
    t, visual = len(places), places.nonzero().flatten().tolist()
    patches, last = visual[:PATCHES], visual[-1]
    mask = torch.full((t, t), torch.finfo(torch.float32).min)
    for query in range(t):
        for key in range(query + 1):
            unseen = key in patches if hide == "patches" else key <= patches[-1]
            if not (query > last and unseen):
                mask[query, key] = 0
    return mask[None, None]


def embed(model, inputs):
    """Embeddings of prompts of one length, with their visual tokens, and the places of these."""
    places = inputs["input_ids"] == model.config.image_token_index
    tokens = model.model.encode_images(inputs["pixel_values"]).tokens
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    return embeds.masked_scatter(places[..., None], tokens), places


@pytest.mark.filterwarnings("ignore:prompts .* have words")  # of the template
@pytest.mark.parametrize("layout", ["image_first", "text_first"])
@pytest.mark.parametrize("rows", ["shared", "own"])
@pytest.mark.parametrize("hide", ["patches", "before"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_padded_batch_gives_what_the_written_mask_gives(
    make, images, attention, hide, rows, layout
):
    model, processor = make(hide=hide, rows=rows)
    processor.template = "qwen"  # which has text before and after the image in both layouts
    llm = model.model.language_model
    with torch.no_grad():
        expected = []
        for image, question in zip(images, QUESTIONS, strict=True):
            embeds, places = embed(model, processor.ask([image], [question], layout=layout))
            mask = write_mask(places[0], hide)
            states = llm(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
            expected.append(model.lm_head(states[:, -1]))
            plain = llm(inputs_embeds=embeds).last_hidden_state
            assert not torch.allclose(states[:, -1], plain[:, -1], atol=1e-3)
        llm.set_attn_implementation(attention)
        batch = model(**processor.ask(images, QUESTIONS, layout=layout)).logits[:, -1]
    torch.testing.assert_close(batch, torch.cat(expected), atol=2e-5, rtol=1e-4)


def test_text_reads_the_kept_tokens_and_no_patch(make, images):
    """The keys and values of patches may be anything once the image has passed; not those of v tokens."""
    model, processor = make(tokens=2)
    inputs = processor.ask(images[:1], QUESTIONS[:1])
    ids = inputs["input_ids"]
    end = int((ids[0] == model.config.image_token_index).nonzero().max()) + 1

    def answer(noise):
        with torch.no_grad():
            cache = model(
                input_ids=ids[:, :end], pixel_values=inputs["pixel_values"], use_cache=True
            ).past_key_values
            for layer in cache.layers:
                layer.keys[:, :, noise] += 1
                layer.values[:, :, noise] += 1
            return model(input_ids=ids[:, end:], past_key_values=cache).logits

    nowhere = answer(slice(0, 0))
    with torch.no_grad():
        torch.testing.assert_close(nowhere, model(**inputs).logits[:, end:], atol=1e-5, rtol=1e-4)
    assert torch.equal(answer(slice(end - 2 - PATCHES, end - 2)), nowhere)
    for token in (1, 2):
        assert not torch.allclose(answer(slice(end - token, end - token + 1)), nowhere, atol=1e-3)


def test_text_without_an_image_is_as_without_the_method(build, images):
    """The same bits in a batch of texts; up to rounding beside images."""
    model, processor = build("voco", 2)
    other, _ = build("mlp", PATCHES)
    texts = processor.ask([None] * 3, QUESTIONS)
    with torch.no_grad():
        expected = other(**texts).logits
        assert torch.equal(model(**texts).logits, expected)
        mixed = model(**processor.ask([None, images[0], None], QUESTIONS)).logits[:, -1]
    torch.testing.assert_close(mixed[[0, 2]], expected[[0, 2], -1], atol=1e-5, rtol=1e-4)


def test_the_first_tokens_are_those_of_fewer(make, images):
    """A token sees those before it alone: v tokens begin with what v - 1 tokens are."""
    states = {}
    for tokens in (2, 3):
        model, processor = make(tokens)
        with torch.no_grad():
            embeds, places = embed(model, processor.ask(images[:1], QUESTIONS[:1]))
            mask = write_mask(places[0], "patches")
            out = model.model.language_model(inputs_embeds=embeds, attention_mask=mask)
        states[tokens] = out.last_hidden_state[places][PATCHES:]
    torch.testing.assert_close(states[3][:2], states[2], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(states[3][0], states[3][1], atol=1e-2)  # of one row, at two places


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("hide", ["patches", "before"])
def test_answers_teach_the_projector_through_the_hidden_patches(make, splits, hide, apart):
    """No supervised position attends to a patch, so a training pass must follow more than one step."""
    model, processor = make(hide=hide)
    data = conversations(splits["stage2"], processor, apart=apart)
    collate = Collate(processor.tokenizer, False, "pixel_values")
    batch = model_inputs(collate([data[i] for i in range(4)], None))
    model.train()(**batch).loss.backward()
    for name, parameter in model.model.multi_modal_projector.named_parameters():
        assert parameter.grad.abs().sum() > 1e-6, name


def test_shared_tokens_have_one_row_and_own_ones_have_theirs():
    features = make_features()
    with torch.no_grad():
        for rows, different in (("shared", 1), ("own", 3)):
            projector = make_projector("voco", 3, rows=rows)
            tokens = projector(features)[:, PATCHES:]
            assert torch.equal(tokens[0], tokens[1])
            assert len(tokens[0].unique(dim=0)) == different
            assert torch.equal(projector(features)[:, :PATCHES], projector.mlp(features.patches))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_attn_implementation": "flash_attention_2"}, "flash_attention_2 attention"),
        ({"layer_types": ["sliding_attention"] * 2}, "sliding windows"),
    ],
)
def test_attention_that_would_ignore_the_mask_is_refused(make, images, change, words):
    model, processor = make()
    for key, value in change.items():
        setattr(model.model.language_model.config, key, value)
    with pytest.raises(UserError, match=f"voco hides parts of the prompt, .* {words}"):
        model(**processor.ask(images, QUESTIONS))
