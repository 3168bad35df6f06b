"""Train the two stages of LLaVA-1.5 with any method: one function, only the spec differs."""

from functools import partial
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from vlmscale.errors import UserError
from vlmscale.models.checkpoint import assemble, check_safetensors
from vlmscale.models.feature_store import FeatureStore
from vlmscale.models.processor import VlmProcessor
from vlmscale.models.supervised_forward import compile_layers
from vlmscale.models.vlm import Vlm
from vlmscale.records.files import atomic_folder, atomic_path
from vlmscale.records.signature import UNSIGNED, read_signed, sign
from vlmscale.training.data import Collate, Conversations
from vlmscale.training.distributed import rank
from vlmscale.training.loop import freeze, optimise, write_record
from vlmscale.training.spec import StageSpec


def train_stage(spec: StageSpec) -> None:
    """Train one stage of one run and write spec.output, then spec.record (run.json).

    Stage 1 trains the projector and writes only that; stage 2 starts from it, trains projector and LLM
    and writes the model folder. The tower is frozen in both.
    """
    model, processor = assemble(
        spec.llm,
        spec.tower,
        spec,
        feature_layers=list(spec.feature_layers),
        template=spec.template,
        seed=spec.seed,
        image_size=spec.image_size,
        prompt_layout=spec.prompt_layout,
    )
    processor.aspect = spec.recipe.aspect
    projector = model.model.multi_modal_projector
    if spec.projector is not None:
        check_safetensors(spec.projector)
        read_signed(spec.projector)
        try:
            projector.load_state_dict(load_file(spec.projector))
        except RuntimeError as error:
            raise UserError(
                f"{spec.projector} holds no weights of {spec.method}: {error}. Make it again."
            ) from None
    language = [model.model.language_model, model.lm_head] if spec.kind == "stage2" else []
    trained, total = freeze(model, trainable=[projector, *language])
    if rank() == 0:
        print(
            f"{spec.run} {spec.kind}: {trained:,} of {total:,} parameters are trainable", flush=True
        )
    if spec.execution.compile:
        compile_layers(model.model.language_model)
    dataset = _load_dataset(spec, processor)
    counts = {
        **_count_parameters(model),
        "trained_parameters": trained,
        "samples": len(dataset),
        "samples_without_loss": len(dataset.without_loss),
    }
    if rank() == 0 and dataset.without_loss:
        print(_describe_without_loss(dataset), flush=True)
    outcome, weights = optimise(
        model,
        dataset,
        Collate(
            processor.tokenizer,
            processor.reads_question,
            "pixel_values" if spec.features is None else "vision_features",
            partial(projector.draw_training_counts, spec.kind) if projector.elastic else None,
            dataset.make_filler(),
        ),
        spec.recipe,
        seed=spec.seed,
        paths=spec.paths,
        projector=projector,
        execution=spec.execution,
    )
    if rank() > 0:
        return
    if spec.kind == "stage1":
        projector_weights = {
            key.removeprefix(_PROJECTOR): value
            for key, value in weights.items()
            if key.startswith(_PROJECTOR)
        }
        with atomic_path(spec.output) as scratch:
            save_file(projector_weights, scratch, metadata=UNSIGNED)
            scratch.write_bytes(sign(scratch.read_bytes()))
    else:
        save_checkpoint(model, processor, spec.output, weights)
    write_record(spec, outcome, **counts)


_PROJECTOR = "model.multi_modal_projector."


def _count_parameters(model: Vlm) -> dict[str, int]:
    """Count parameters, before ZeRO partitions them."""
    llm, projector = model.model.language_model, model.model.multi_modal_projector
    embedding = model.get_input_embeddings().weight.numel()
    return {
        "llm_parameters": model.count_llm_parameters(),
        "llm_parameters_non_embedding": sum(p.numel() for p in llm.parameters()) - embedding,
        "projector_parameters": sum(p.numel() for p in projector.parameters()),
    }


def save_checkpoint(
    model: Vlm, processor: VlmProcessor, folder: Path, weights: dict[str, Tensor] | None = None
) -> None:
    """Write a transformers folder atomically. weights: gathered ones, where the model holds only a part."""
    with atomic_folder(folder) as scratch:
        model.save_pretrained(scratch, state_dict=weights)
        processor.save_pretrained(scratch)


def _describe_without_loss(dataset: Conversations) -> str:
    names = [str(dataset.texts["id"][index]) for index in dataset.without_loss[:5]]
    return (
        f"{len(dataset.without_loss):,} of {len(dataset):,} samples, such as {', '.join(names)}, have no "
        f"answer in their first {dataset.max_length} tokens and contribute no loss."
    )


def _load_dataset(spec: StageSpec, processor: VlmProcessor) -> Conversations:
    # A method may keep the chat template in stage 1; LLaVA-1.5's default is plain captions.
    plain = spec.kind == "stage1" and spec.options.get("stage1_template", "plain") == "plain"
    if spec.recipe.max_length <= processor.visual_tokens:
        raise UserError(
            f"{spec.kind}.max_length {spec.recipe.max_length} leaves no room beside "
            f"{processor.visual_tokens} visual tokens. Raise it."
        )
    return Conversations(
        spec.data,
        processor.tokenizer,
        template="plain" if plain else spec.template,
        visual_tokens=processor.visual_tokens,
        query_turn=spec.options.get("query_turn", "first") if processor.reads_question else None,
        max_length=spec.recipe.max_length,
        apart=spec.recipe.turns == "apart",
        seed=spec.seed,
        features=FeatureStore(spec.features) if spec.features is not None else None,
        pixels=processor.to_pixels,
        layout=spec.prompt_layout,
    )
