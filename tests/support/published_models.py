"""Models of published shapes and sizes, without weights."""

from common import load_backbone_config
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import PreTrainedModel

from vlmscale.methods import find_method
from vlmscale.models.checkpoint import build_frame

TOWER = "clip-vit-large-patch14-336"
TOWERS = [TOWER, "siglip2-so400m-patch14-384", "dinov2-large", "dinov2-with-registers-large"]
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
# Of LLMs whose shapes are known for planning, of current families: the name, parameters in all and without
# embedding and head, and bytes that a position keeps in keys and values in 16 bits.
CURRENT_LLMS = {
    "Qwen2.5-0.5B-Instruct": ("Qwen2.5-0.5B", 494_032_768, 357_898_112, 12_288),
    "Qwen2.5-1.5B-Instruct": ("Qwen2.5-1.5B", 1_543_714_304, 1_310_340_608, 28_672),
    "Qwen2.5-3B-Instruct": ("Qwen2.5-3B", 3_085_938_688, 2_774_773_760, 36_864),
    "Qwen2.5-7B-Instruct": ("Qwen2.5-7B", 7_615_616_512, 6_525_621_760, 57_344),
    "Qwen2.5-14B-Instruct": ("Qwen2.5-14B", 14_770_033_664, 13_212_898_304, 196_608),
    "Qwen2.5-32B-Instruct": ("Qwen2.5-32B", 32_763_876_352, 31_206_740_992, 262_144),
    "Qwen3-0.6B": ("Qwen3-0.6B", 596_049_920, 440_467_456, 114_688),
    "Qwen3-1.7B": ("Qwen3-1.7B", 1_720_574_976, 1_409_410_048, 114_688),
    "Qwen3-4B": ("Qwen3-4B", 4_022_468_096, 3_633_511_936, 147_456),
    "Qwen3-8B": ("Qwen3-8B", 8_190_735_360, 6_946_075_648, 147_456),
    "Qwen3-14B": ("Qwen3-14B", 14_768_307_200, 13_212_482_560, 163_840),
    "Llama-3.2-1B-Instruct": ("Llama-3.2-1B", 1_235_814_400, 973_146_112, 32_768),
    "Llama-3.2-3B-Instruct": ("Llama-3.2-3B", 3_212_749_824, 2_818_747_392, 114_688),
    "SmolLM2-135M-Instruct": ("SmolLM2-135M", 134_515_008, 106_203_456, 23_040),
    "SmolLM2-360M-Instruct": ("SmolLM2-360M", 361_821_120, 314_635_200, 40_960),
    "SmolLM2-1.7B-Instruct": ("SmolLM2-1.7B", 1_711_376_384, 1_610_713_088, 196_608),
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
    """Build the VLM that `assemble` makes from these backbones, on the meta device.

    No tokenizer is read, so `<image>` is the last row of the embedding; `assemble` adds a row when the
    tokenizer uses all of them (Vicuna).
    """
    text = load_backbone_config(llm)
    return build_frame(
        text,
        load_backbone_config(TOWER),
        find_method(method).make_setting(tokens),
        image_token=text.vocab_size - 1,
        feature_layers=LAYERS,
        template="plain",
    )


def on_fake_memory(model):
    """Return a mode with shapes and no data, and move `model` into it, as if on the CPU."""
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with mode:
        model.to_empty(device="cpu")
        if isinstance(model, PreTrainedModel):
            model.tie_weights()
    return mode
