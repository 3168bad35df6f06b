"""Released VLMs in their makers' layouts, of tiny random weights: config, weights, processor and tokenizer."""

import torch
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "internvl3", "llava_onevision"]
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
MARKS += [
    "<|image_pad|>",
    "<|video_pad|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<video>",
    "<image>",
]
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256 + len(MARKS),
    "max_position_embeddings": 32_768,
    "bos_token_id": 256,
    "eos_token_id": 258,
    "pad_token_id": 256,
}
_SHOWN = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "internvl3": "<IMG_CONTEXT>\n",
    "llava_onevision": "<image>\n",
}


def find_id(mark):
    return 256 + MARKS.index(mark)


def _build_tokenizer(folder, **named):
    letters = {letter: byte for byte, letter in enumerate(bytes_to_unicode().values())}
    marks = {mark: find_id(mark) for mark in MARKS}
    Qwen2Tokenizer(
        vocab=letters | marks,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=MARKS[1:],
        **named,
    ).save_pretrained(folder)
    return Qwen2Tokenizer.from_pretrained(folder)


def _write_template(family):
    """ChatML, each image as the family's processor looks for it."""
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
        f"{{% if part.type == 'image' %}}{_SHOWN[family]}"
        "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def build_vlm(family, folder):
    """Write a model of a family to `folder`, with the image sizes and patches of the released ones."""
    from transformers import (  # need torchvision
        GotOcr2ImageProcessor,
        InternVLVideoProcessor,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionVideoProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLVideoProcessor,
    )

    torch.manual_seed(0)
    template = {"chat_template": _write_template(family)}
    if family == "internvl3":
        tokenizer = _build_tokenizer(
            folder,
            extra_special_tokens={
                "start_image_token": "<img>",
                "end_image_token": "</img>",
                "context_image_token": "<IMG_CONTEXT>",
                "video_token": "<video>",
            },
        )
        images = GotOcr2ImageProcessor(size={"height": 448, "width": 448}, crop_to_patches=True)
        processor = InternVLProcessor(images, tokenizer, InternVLVideoProcessor(), **template)
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        vision |= {"num_attention_heads": 2, "image_size": [448, 448], "patch_size": [14, 14]}
        config = InternVLConfig(
            vision_config=vision,
            text_config={"model_type": "qwen2", **_TEXT},
            image_token_id=find_id("<IMG_CONTEXT>"),
        )
        model = InternVLForConditionalGeneration(config)
    elif family == "llava_onevision":
        tokenizer = _build_tokenizer(folder)
        grid = [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)]
        images = LlavaOnevisionImageProcessor(image_grid_pinpoints=grid)
        processor = LlavaOnevisionProcessor(
            images,
            tokenizer,
            LlavaOnevisionVideoProcessor(),
            num_image_tokens=729,
            vision_feature_select_strategy="full",
            **template,
        )
        vision = {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 16}
        vision |= {"num_hidden_layers": 2, "num_attention_heads": 2}
        vision |= {"image_size": 384, "patch_size": 14, "vision_use_head": False}
        config = LlavaOnevisionConfig(
            vision_config=vision,
            text_config={"model_type": "qwen2", **_TEXT},
            image_grid_pinpoints=grid,
            image_token_id=find_id("<image>"),
            image_token_index=find_id("<image>"),
            video_token_id=find_id("<video>"),
            vision_feature_select_strategy="full",
            vision_feature_layer=-1,
        )
        model = LlavaOnevisionForConditionalGeneration(config)
    else:
        tokenizer = _build_tokenizer(folder)
        patch = 14 if family == "qwen2_5_vl" else 16
        images = Qwen2VLImageProcessor(patch_size=patch)
        ids = {
            "image_token_id": find_id("<|image_pad|>"),
            "video_token_id": find_id("<|video_pad|>"),
            "vision_start_token_id": find_id("<|vision_start|>"),
            "vision_end_token_id": find_id("<|vision_end|>"),
        }
        vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
        vision |= {"out_hidden_size": 32, "patch_size": patch, "spatial_merge_size": 2}
        if family == "qwen2_5_vl":
            processor = Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), **template)
            rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
            config = Qwen2_5_VLConfig(
                vision_config=vision | {"fullatt_block_indexes": [1], "window_size": 112},
                text_config={**_TEXT, "rope_parameters": rope},
                **ids,
            )
            model = Qwen2_5_VLForConditionalGeneration(config)
        else:
            processor = Qwen3VLProcessor(
                images, tokenizer, Qwen3VLVideoProcessor(patch_size=16), **template
            )
            vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 2304}
            rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10_000.0}
            config = Qwen3VLConfig(
                vision_config=vision,
                text_config={**_TEXT, "head_dim": 8, "rope_parameters": rope},
                **ids,
            )
            model = Qwen3VLForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
