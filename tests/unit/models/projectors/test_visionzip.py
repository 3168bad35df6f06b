"""VisionZip against its description written out patch by patch, in plain Python."""

import pytest
import torch

from tests.support.projectors import HEADS, make_features, make_projector, select_images
from vlmscale.models.projectors.visionzip import count_contextual, merge_by_keys


def without_mlp(tokens):
    projector = make_projector("visionzip", tokens)
    projector.mlp = torch.nn.Identity()
    return projector


def zip_by_hand(features, image, v):
    """The tokens of one image before the MLP: CLS, dominant patches, contextual ones."""
    patches = features.patches[image]
    attention = [sum(float(head[j]) for head in features.block_attention[image]) for j in range(36)]
    falling = sorted(range(36), key=lambda j: -attention[j])
    contextual = count_contextual(v)
    dominant = sorted(falling[: v - contextual - 1])
    rest = [j for j in range(36) if j not in dominant]
    tokens = [features.cls[image], *(patches[j] for j in dominant)]
    if contextual:
        keys = features.block_keys[image].reshape(36, HEADS, -1).mean(1)
        keys = keys / keys.norm(dim=-1, keepdim=True)
        step = len(rest) // contextual
        targets = [rest[i * step] for i in range(contextual)]
        members = {target: [] for target in targets}
        for j in rest:
            if j not in targets:
                nearest = max(targets, key=lambda target: float(keys[j] @ keys[target]))
                members[nearest].append(patches[j])
        for target in targets:
            joined = members[target] or [torch.zeros_like(patches[0])]
            tokens.append(patches[target] + sum(joined) / len(joined))
    return torch.stack(tokens)


@pytest.mark.parametrize("v", [1, 2, 3, 7, 16, 30, 36])
def test_equals_the_description_written_out(v):
    features = make_features(b=3)
    out = without_mlp(v)(features)
    for image in range(3):
        torch.testing.assert_close(out[image], zip_by_hand(features, image, v))


def test_contextual_tokens_are_as_many_as_released():
    released = {64: 10, 128: 20, 192: 30}
    assert {v: count_contextual(v) for v in released} == released
    assert [count_contextual(v) for v in (1, 2, 3, 4, 8)] == [0, 1, 1, 1, 1]
    assert all(v - count_contextual(v) >= 1 for v in range(1, 577))


def test_one_token_is_the_cls_position():
    features = make_features()
    assert torch.equal(without_mlp(1)(features)[:, 0], features.cls)


def test_a_target_without_members_stays_itself():
    patches = torch.eye(3)[None]
    metric = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]])
    merged = merge_by_keys(patches, metric, 3)
    assert torch.equal(merged, patches)  # every patch is a target
    assert torch.equal(merge_by_keys(patches, metric, 1)[0, 0], torch.tensor([1.0, 0.5, 0.5]))


def test_of_equal_attention_the_earlier_patch_is_kept():
    features = make_features()
    features.block_attention[:] = 1 / 37
    out = without_mlp(9)(features)
    dominant = 9 - count_contextual(9) - 1
    assert torch.equal(out[:, 1 : 1 + dominant], features.patches[:, :dominant])


def test_one_head_alone_can_decide():
    """Heads are summed after their softmax, so a head that looks at one patch counts as a whole."""
    features = make_features()
    features.block_attention[:] = 0.2 / 37
    features.block_attention[:, 2, 20] = 0.9
    out = without_mlp(3)(features)
    assert torch.equal(out[:, 1], features.patches[:, 20])


def test_images_are_zipped_alone():
    features = make_features(b=4)
    projector = make_projector("visionzip", 9)
    with torch.no_grad():
        together = projector(features)
        alone = [projector(select_images(features, slice(i, i + 1))) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_the_weights_of_the_mlp_serve_it():
    make_projector("visionzip", 5).load_state_dict(make_projector("mlp", 36).state_dict())
