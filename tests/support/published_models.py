"""Models of published shapes and sizes, without weights."""

from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import PreTrainedModel

from vlmscale.methods import find_method
from vlmscale.models.meta import build_from_shapes

TOWER = "clip-vit-large-patch14-336"
LAYERS = [12, 16, 22, 23]
# The name in src/vlmscale/resources/backbones; parameters of the released checkpoint in all, and of its embedding.
LLMS = {
    "Qwen1.5-0.5B-Chat": ("Qwen1.5-0.5B", 463_987_712, 155_582_464),
    "Qwen1.5-1.8B-Chat": ("Qwen1.5-1.8B", 1_836_828_672, 311_164_928),
    "Qwen1.5-4B-Chat": ("Qwen1.5-4B", 3_950_369_280, 388_956_160),
    "Qwen1.5-7B-Chat": ("Qwen1.5-7B", 7_721_324_544, 622_329_856),
    "Qwen1.5-14B-Chat": ("Qwen1.5-14B", 14_167_290_880, 778_567_680),
    "vicuna-7b-v1.5": ("Vicuna-7B", 6_738_415_616, 131_072_000),
}
# CLIPVisionModel of the released checkpoint, with the final norm that LLaVA does not use.
TOWER_PARAMETERS = 303_507_456
# By width of the LLM. mlp, also of m3: LLaVA-1.5's two layers, 1024 n + n + n n + n. The released modules
# have 15,742,976 parameters (TokenPacker) beside that MLP, and MQT 4,466,688 beside its matrix, 1024 n.
MLP = {1024: 2_099_200, 2048: 6_295_552, 2560: 9_180_160, 4096: 20_979_712, 5120: 31_467_520}
TOKENPACKER = {1024: 17_842_176, 2048: 22_038_528, 2560: 24_923_136, 4096: 36_722_688, 5120: 47_210_496}  # fmt: skip
MQT = {1024: 5_515_264, 2048: 6_563_840, 2560: 7_088_128, 4096: 8_660_992, 5120: 9_709_568}
# QueCC beside that MLP, by token count, as the released module has it for an LLM of width 4096 (its
# projection of the question is 1024 n); 144 and 576 follow from the convolution, 1024 s s + 1024.
QUECC_AT_4096 = {
    1: 21_581_824,
    4: 21_139_456,
    16: 21_028_864,
    36: 21_008_384,
    64: 21_001_216,
    144: 20_996_096,
    576: 20_993_024,
}
SQUARES = (1, 4, 16, 36, 64, 144, 576)
COUNTS = {
    "mlp": (576,),
    "tokenpacker": SQUARES,
    "quecc": SQUARES,
    "m3": SQUARES,
    "mqt": (1, 2, 4, 16, 36, 64, 144, 256),
}
# What LLaVA-1.5 trains; a head that is the embedding has that one's name.
LEARNS = {
    "stage1": ("model.multi_modal_projector",),
    "stage2": ("model.multi_modal_projector", "model.language_model", "lm_head"),
}


def build_published(llm, method, tokens):
    """Build the model of published shapes on the meta device."""
    return build_from_shapes(
        llm,
        TOWER,
        find_method(method).make_setting(tokens),
        feature_layers=LAYERS,
    )


def on_fake_memory(model):
    """Return a mode with shapes and no data, and move `model` into it, as if on the CPU."""
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with mode:
        model.to_empty(device="cpu")
        if isinstance(model, PreTrainedModel):
            model.tie_weights()
    return mode
