"""Tiny vision towers with random weights, in the files of their released checkpoints."""

import json

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipModel,
)

WIDTH, LAYERS, PATCH = 32, 4, 8
SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
SHAPE |= {"patch_size": PATCH}
TEXT = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "vocab_size": 64}
TEXT |= {"num_hidden_layers": 1}
_NORMALISED = {"do_normalize": True, "do_rescale": True, "do_resize": True}
_HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **_NORMALISED}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def clip(side):
    config = {"text_config": TEXT | {"projection_dim": 8}, "projection_dim": 8}
    vision = SHAPE | {"intermediate_size": 64, "image_size": side, "projection_dim": 8}
    processor = {"feature_extractor_type": "CLIPFeatureExtractor", "size": side, "crop_size": side}
    processor |= {"do_center_crop": True, "resample": 3, **_IMAGENET, **_NORMALISED}
    return CLIPModel(CLIPConfig(**config, vision_config=vision)), processor


def siglip(side, resample=3):
    vision = SHAPE | {"intermediate_size": 64, "image_size": side}
    processor = {"image_processor_type": "SiglipImageProcessor", "resample": resample, **_HALVES}
    processor |= {"processor_class": "SiglipProcessor", "size": {"height": side, "width": side}}
    return SiglipModel(SiglipConfig(text_config=TEXT, vision_config=vision)), processor


def siglip2(side):
    """Checkpoints of one resolution say that they are SigLIP, too; they resize bilinearly."""
    return siglip(side, resample=2)


def dinov2(side):
    """As released: positions of large images, and a processor that crops smaller ones."""
    model = Dinov2Model(Dinov2Config(**SHAPE, mlp_ratio=2, image_size=side))
    return model, _bit(side)


def dinov2_registers(side):
    shape = SHAPE | {"mlp_ratio": 2, "image_size": side, "num_register_tokens": 4}
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**shape)), _bit(side)


def _bit(side):
    crop = side - PATCH
    processor = {"image_processor_type": "BitImageProcessor", "do_center_crop": True, "resample": 3}
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": crop, "width": crop}}
    return processor | size | _IMAGENET | _NORMALISED


# Name -> (maker, model_type of the tower, special positions, whether one of them is CLS).
FAMILIES = {
    "clip": (clip, "clip_vision_model", 1, True),
    "siglip": (siglip, "siglip_vision_model", 0, False),
    "siglip2": (siglip2, "siglip_vision_model", 0, False),
    "dinov2": (dinov2, "dinov2", 1, True),
    "dinov2_registers": (dinov2_registers, "dinov2_with_registers", 5, True),
}


def make_tower(name, side=48):
    """The whole model of the family `name`, the same at every call, and its image processor's settings."""
    torch.manual_seed(0)
    model, processor = FAMILIES[name][0](side)
    for parameter in model.parameters():  # zeros would hide a mistake
        torch.nn.init.normal_(parameter, std=0.1)
    return model, processor


def write_tower(name, folder, side=48):
    """A checkpoint of the family `name` for images of `side` pixels. Returns its folder."""
    model, processor = make_tower(name, side)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
