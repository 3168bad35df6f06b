"""Our projectors and the released ones, with the same weights, give the same numbers.

Skipped unless VLMSCALE_REFERENCE_DIR names a folder with checkouts of the released repositories, each
under its own name. `pytest tests/parity -rP` prints the largest differences.
"""

from types import SimpleNamespace

import pytest
import torch
from einops import rearrange
from torch import nn

from vlmscale.methods import find_method
from vlmscale.models.features import VisionFeatures
from vlmscale.models.projectors.base import Widths, build_projector
from vlmscale.models.projectors.mqt import make_sine_positions

SIDE, TOWER, LAYERS, LLM = 24, 1024, 4, 64  # released code has the first three written into it
OUTPUTS, GRADIENTS = 1e-5, 1e-4  # largest difference; of gradients, as a share of the largest
# They add the same to all scores of a query: their gradients are rounding errors.
NO_EFFECT = ("key.3.bias", "key_norm.bias")


def ours(name, tokens, tower=TOWER, **options):
    widths = Widths(tower=tower, layers=LAYERS, llm=LLM, grid_side=SIDE)
    return build_projector(widths, find_method(name).make_setting(tokens, **options))


def inputs(tower=TOWER, b=2):
    generator = torch.Generator().manual_seed(1)
    multilayer = torch.randn(b, SIDE * SIDE, LAYERS * tower, generator=generator)
    question = torch.randn(b, LLM, generator=generator)
    return VisionFeatures(multilayer[..., -tower:], SIDE, multilayer, question)


def randomise(module):
    """Biases and norms differ from zero and one, so that no two can be mixed up unseen; matrices are
    large, so that attention is sharp and its gradients are no rounding errors.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif parameter.ndim == 2 and parameter.requires_grad:
                parameter.mul_(2)
    return module


def assert_same(mine, theirs, names, run_mine, run_theirs):
    """The weights of `theirs` go into `mine`; outputs and the gradients of all weights must agree.

    names: prefixes of parameters, of mine -> of theirs.
    """
    randomise(theirs)
    weights = dict(theirs.named_parameters())
    pairs = {}
    for key, parameter in mine.named_parameters():
        prefix = max((p for p in names if key.startswith(p)), key=len)
        pairs[key] = parameter, weights[names[prefix] + key.removeprefix(prefix)]
    with torch.no_grad():
        for parameter, weight in pairs.values():
            parameter.copy_(weight)
    out, expected = run_mine(), run_theirs()
    assert out.shape == expected.shape
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    for result in (out, expected):
        if result.requires_grad:
            (result * probe).sum().backward()
    difference = (out - expected).abs().max().item()
    shares = []
    for key, (parameter, weight) in pairs.items():
        scale = (key not in NO_EFFECT and weight.grad.abs().max().item()) or 1
        shares.append((parameter.grad - weight.grad).abs().max().item() / scale)
    print(f"outputs differ by {difference:.1e}, gradients by {max(shares, default=0):.1e}")
    assert difference <= OUTPUTS
    assert max(shares, default=0) <= GRADIENTS


def test_mlp(released):
    builder = released("LLaVA", "llava/model/multimodal_projector/builder.py")
    theirs = builder.build_vision_projector(
        SimpleNamespace(mm_projector_type="mlp2x_gelu", mm_hidden_size=TOWER, hidden_size=LLM)
    )
    mine, f = ours("mlp", 576), inputs()
    assert_same(mine, theirs, {"mlp.": ""}, lambda: mine(f), lambda: theirs(f.patches))


@pytest.mark.parametrize("window", [1, 2, 3, 4, 6, 8, 12, 24])
def test_tokenpacker(released, window):
    builder = released("TokenPacker", "llava/model/multimodal_projector/builder.py")
    theirs = builder.TokenPacker(scale_factor=window, hidden_size=LLM)
    mine, f = ours("tokenpacker", (SIDE // window) ** 2), inputs()
    names = {"attention.attention": "clip_attn", "mlp": "mlp", "query.0": "q_proj_1"}
    names |= {"query.1": "ln_q_1", "key.": "k_proj_1.", "key.3": "ln_k_1"}
    names |= {"value.": "v_proj_1.", "value.3": "ln_v_1"}
    run = lambda: theirs((f.patches, f.multilayer))  # noqa: E731
    assert_same(mine, theirs, names, lambda: mine(f), run)


@pytest.mark.parametrize("window", [2, 3, 4, 6, 12, 24])
def test_quecc(released, window):
    quecc = released("llava-token-compression", "llava/model/multimodal_projector/quecc.py")
    settings = SimpleNamespace(
        mm_vision_output_token_count=SIDE * SIDE,
        mm_vision_output_text_embedding_size=LLM,
        mm_vision_token_compression_kernel_size=window,
        mm_vision_token_compression_stride=window,
    )
    theirs_alone = quecc.QueCC(SimpleNamespace(hidden_size=TOWER), settings)
    # As the released repository joins it with its MLP.
    theirs = nn.Sequential(theirs_alone, nn.Linear(TOWER, LLM), nn.GELU(), nn.Linear(LLM, LLM))
    mine, f = ours("quecc", (SIDE // window) ** 2), inputs()
    names = {"attention.attention": "0.clip_attn", "mlp.0": "1", "mlp.2": "3"}
    names |= {"question": "0.text_projection", "downsample": "0.q_downsample"}
    names |= {"query": "0.q_proj", "key": "0.k_proj", "value": "0.v_proj"}
    question = rearrange(f.question, "b n -> b 1 n")
    run = lambda: theirs((f.multilayer, question, f.patches))  # noqa: E731
    assert_same(mine, theirs, names, lambda: mine(f), run)


@pytest.mark.parametrize("tokens", [1, 2, 37, 256])
def test_mqt(released, tokens):
    stubs = ("transformers.modeling_utils", "torchvision", "torchvision.transforms")
    builder = released("MQT-LLaVA", "llava/model/multimodal_projector/builder.py", stubs)
    theirs = builder.Resampler(grid_size=16, embed_dim=LLM, num_heads=16, kv_dim=TOWER)
    table = torch.from_numpy(builder.get_2d_sincos_pos_embed(TOWER, 16))
    assert (table - make_sine_positions(16, TOWER, table.device)).abs().max() <= 1e-5
    # It is stored in half precision, and the norm in float32 does not take it so.
    theirs.pos_embed.data = table
    mine, f = ours("mqt", tokens), inputs()
    names = {"query": "query", "query_norm": "ln_q", "key_norm": "ln_k", "value_norm": "ln_v"}
    names |= {"attention": "attn", "matrix": "proj"}
    assert_same(mine, theirs, names, lambda: mine(f), lambda: theirs(f.patches, tokens))


@pytest.mark.parametrize("window", [1, 2, 3, 4, 6, 8, 12, 24])
def test_avgpool(released, window):
    pool = released("LLaVA-NeXT", "llava/model/multimodal_resampler/spatial_pool.py")
    settings = SimpleNamespace(mm_spatial_pool_mode="average", mm_spatial_pool_stride=window)
    theirs = pool.SpatialPool(settings, SimpleNamespace(hidden_size=TOWER))
    mine, f = ours("avgpool", (SIDE // window) ** 2), inputs()
    mine.mlp = nn.Identity()
    images = torch.empty(2, 3, 336, 336)
    assert_same(mine, theirs, {}, lambda: mine(f), lambda: theirs(f.patches, images))


class Tower(nn.Module):
    """What the released PruMerge asks of a tower; its images are the hidden states already."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, d):
        super().__init__()
        attention = nn.Module()
        attention.q_proj, attention.k_proj = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        layer = SimpleNamespace(self_attn=attention)
        self.vision_model = SimpleNamespace(encoder=SimpleNamespace(layers=[layer] * 24))
        self.last = attention

    def forward(self, hidden, output_hidden_states):
        self.last.q_proj(hidden), self.last.k_proj(hidden)  # for the hooks
        return SimpleNamespace(hidden_states=[hidden, hidden])


@pytest.fixture
def prumerge(released):
    """(the released tower, hidden states of an image, the same as our features)"""
    path = "llava/model/multimodal_encoder/clip_encoder.py"
    encoder = released("LLaVA-PruMerge", path, ("transformers", "matplotlib", "matplotlib.pyplot"))
    settings = SimpleNamespace(mm_vision_select_layer=-2)
    theirs = encoder.CLIPVisionTower("", settings, delay_load=True)
    torch.manual_seed(0)
    d = 128
    theirs.vision_tower = Tower(d)
    hidden = 2 * torch.randn(1, 1 + SIDE * SIDE, d)
    last = theirs.vision_tower.last
    # Patches on the grid of the released rule for training: few of them attended to.
    with torch.no_grad():
        score = last.k_proj(hidden) @ last.q_proj(hidden[:, :1]).transpose(1, 2)
        hidden[:, 1:][:, 4::8] *= -score[:, 1:][:, 4::8].sign()
        keys = last.k_proj(hidden)
        score = last.q_proj(hidden[:, :1]) @ keys.transpose(1, 2) / d**0.5
    attention = score.softmax(-1)[:, 0, 1:]
    return (
        theirs,
        hidden,
        VisionFeatures(hidden[:, 1:], SIDE, cls_attention=attention, keys=keys[:, 1:]),
    )


@pytest.mark.parametrize(
    ("name", "released_name"),
    [
        ("prumerge", "token_prune_merge_advanced"),
        ("prumerge_plus", "token_prune_merge_advanced_plus"),
    ],
)
@pytest.mark.parametrize("count", ["adaptive", "fixed"])
@torch.no_grad()
def test_prumerge(prumerge, name, released_name, count):
    """Which patches are kept, in which order, with what merged in; one image, as released."""
    theirs, hidden, f = prumerge
    expected = getattr(theirs, released_name)(hidden, if_adaptive=count == "adaptive")[0]
    assert 4 < len(expected) < 400
    mine = ours(name, 576 if count == "adaptive" else len(expected), tower=128, count=count)
    mine.mlp = nn.Identity()
    out = mine(f)
    out = out[0][out[1]] if count == "adaptive" else out[0]
    assert out.shape == expected.shape
    difference = (out - expected).abs().max().item()
    print(f"{len(expected)} tokens differ by {difference:.1e}")
    assert difference <= OUTPUTS


@pytest.mark.parametrize("tokens", [1, 5, 64])
def test_perceiver(released, tokens):
    perceiver = released("LLaVA-NeXT", "llava/model/multimodal_resampler/perceiver.py")
    # From a package of helpers: rearrange() on each of several.
    perceiver.rearrange_many = lambda many, pattern, **sizes: [
        rearrange(one, pattern, **sizes) for one in many
    ]
    settings = SimpleNamespace(
        mm_perceiver_depth=6,
        mm_perceiver_latents=tokens,
        mm_perceiver_ff_mult=4,
        mm_perceiver_pretrained=None,
    )
    theirs = perceiver.PerceiverResampler(settings, SimpleNamespace(hidden_size=128))
    mine, f = ours("perceiver", tokens, tower=128), inputs(tower=128)
    mine.mlp = nn.Identity()
    names = {"latents": "perceiver.latents", "norm": "perceiver.norm"}
    parts = {"patch_norm": "0.norm_media", "latent_norm": "0.norm_latents", "query": "0.to_q"}
    parts |= {"key_value": "0.to_kv", "output": "0.to_out", "feed_forward": "1"}
    for layer in range(6):
        names |= {f"layers.{layer}.{m}": f"perceiver.layers.{layer}.{t}" for m, t in parts.items()}
    assert_same(mine, theirs, names, lambda: mine(f), lambda: theirs(f.patches))


def test_ldpv2(released):
    # Of these packages only its first version makes use.
    stubs = [f"timm.layers{rest}" for rest in ("", ".norm_act")] + ["timm", "torchvision"]
    stubs += [f"torchvision.{rest}" for rest in ("ops", "ops.misc", "models", "models.mobilenetv3")]
    projector = released("MobileVLM", "mobilevlm/model/vision_projector.py", stubs)
    theirs = projector.LDPNetV2Projector(SimpleNamespace(mm_hidden_size=TOWER, hidden_size=LLM))
    mine, f = ours("ldpv2", 144), inputs()
    names = {"mlp": "mlp.mlp", "position": "peg.peg.0"}
    assert_same(mine, theirs, names, lambda: mine(f), lambda: theirs(f.patches))
