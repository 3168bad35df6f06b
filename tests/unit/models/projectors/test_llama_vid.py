"""LLaMA-VID: one token follows the question, the others do not."""

from dataclasses import replace

import torch

from tests.support.projectors import make_features, make_projector, select_images


def test_llama_vid_question_changes_only_the_first_token():
    projector, f = make_projector("llama_vid", 5), make_features()
    asked = replace(f, question_tokens=f.question_tokens.flip(0))
    with torch.no_grad():
        before, after = projector(f), projector(asked)
    assert not torch.allclose(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 1:], after[:, 1:])


def test_llama_vid_content_is_avgpool():
    projector, pooled, f = (
        make_projector("llama_vid", 5),
        make_projector("avgpool", 4),
        make_features(),
    )
    pooled.mlp.load_state_dict(projector.mlp.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(projector(f)[:, 1:], pooled(f))


def test_llama_vid_does_not_read_padding():
    projector, f = make_projector("llama_vid", 5), make_features(question=7)
    mask = f.question_mask.clone()
    mask[0, 4:] = 0
    padded = replace(f, question_mask=mask)
    noise = f.question_tokens.clone()
    noise[0, 4:] = 50 * torch.randn(3, 24)
    short = replace(select_images(f, slice(0, 1)), question_tokens=f.question_tokens[:1, :4])
    short = replace(short, question_mask=torch.ones(1, 4))
    with torch.no_grad():
        out = projector(padded)
        assert torch.equal(out, projector(replace(padded, question_tokens=noise)))
        torch.testing.assert_close(out[:1], projector(short), atol=1e-6, rtol=1e-5)
        assert not torch.allclose(out[0, 0], projector(f)[0, 0])


def test_llama_vid_context_is_a_mean_of_patches_when_nothing_is_asked():
    projector, f = make_projector("llama_vid", 2), make_features()
    with torch.no_grad():
        projector.query.weight.zero_()
        projector.query.bias.zero_()
        expected = projector.context(f.patches.mean(dim=1))
        torch.testing.assert_close(projector(f)[:, 0], expected, atol=1e-5, rtol=1e-5)
