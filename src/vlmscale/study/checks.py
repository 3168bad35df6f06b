"""What the parts of a config must agree on. Every message names the key and what to do."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import BeforeValidator, ValidationError

from vlmscale.settings import STAGES
from vlmscale.settings.formulas import evaluate_formula
from vlmscale.settings.towers import CLS_NEEDS, explain_missing_cls
from vlmscale.study.complaints import list_complaints
from vlmscale.study.schema import Study
from vlmscale.study.selection import FULL

_MOST_CELLS, _MOST_PATCHES = 10_000, 128
_FOLDERS = {
    "published": "the folder of the paper's released numbers",
    "downloads": "the folder of downloaded files",
}
_RELEASED_KEYS = {"repository", "revision", "architecture", "dataset"}


def _require_origin(*, released: bool) -> BeforeValidator:
    kind, world, example, cure = (
        ("released", "without", "paper", "add") if released else ("made", "with", "mini", "remove")
    )

    def check(value: Any) -> Any:
        if isinstance(value, Mapping):
            parts = [value, *(part for part in value.values() if isinstance(part, Mapping))]
            if any(_RELEASED_KEYS & set(part) for part in parts) != released:
                raise ValueError(
                    f"must be {kind}, in a study {world} a world. Data and backbones are all generated, or "
                    f"all released: describe it as config/{example}.yaml does, or {cure} `world`"
                )
        return value

    return BeforeValidator(check)


# Validators of data and backbones: of a study with a world, and of one without.
MADE, RELEASED = _require_origin(released=False), _require_origin(released=True)


def check_consistent(study: Study) -> Study:
    """Return `study`. Raises ValueError for the first contradiction between valid parts."""
    if study.study.lower() in _FOLDERS:
        raise ValueError(
            f"study: {study.study} is {_FOLDERS[study.study.lower()]}; choose another name"
        )
    _check_spelling(study)
    _check_budgets(study)
    _check_tower(study)
    _check_names(study)
    _check_size(study)
    _check_counts(study)
    _check_laws(study)
    _check_trainings(study)
    study.count_questions()
    return study


def _check_spelling(study: Study) -> None:
    """Raise ValueError for names that would share a folder."""
    taken = {"tower", "tokenizer", "vision", "benchmarks", "fetch"}  # folders beside those of LLMs
    for name in study.llms:
        if name.lower() in taken:
            raise ValueError(f"llms: {name} is the name of another folder; rename the LLM")
    used = {name for block in study.grid for name in block.methods}
    for key, names in (
        ("llms", study.llms),
        ("methods", {*used, *study.methods}),
        ("budgets", study.budgets),
        ("laws.series", study.laws.series),
    ):
        spelled: dict[str, str] = {}
        for name in sorted(names):
            if (other := spelled.setdefault(name.lower(), name)) != name:
                raise ValueError(f"{key}: {other} and {name} differ in case alone; rename one")


def _check_budgets(study: Study) -> None:
    if FULL in study.budgets:
        raise ValueError(f"budgets.{FULL}: this name means stage2 unchanged; choose another")
    for name, changes in study.budgets.items():
        if "execution" in changes:
            raise ValueError(f"budgets.{name}.execution: belongs to stage2, for all budgets")
        try:
            same = study.get_recipe("stage2", name) == study.stage2
        except ValidationError as error:
            raise ValueError("\n  ".join(list_complaints(error, f"budgets.{name}"))) from None
        if same:
            raise ValueError(f"budgets.{name}: changes nothing of stage2")


def _check_tower(study: Study) -> None:
    shape, layers = study.tower_shape, study.tower.feature_layers
    last = max(layers)
    if len(set(layers)) < len(layers):
        raise ValueError("tower.feature_layers: a layer stands twice. Remove one.")
    if last > shape.layers:
        raise ValueError(f"tower.feature_layers: {last} must be at most layers={shape.layers}")
    if not shape.grid_side:
        raise ValueError(
            f"tower.image_size: {shape.image_size} pixels hold no patch of {shape.patch_size}. Raise it."
        )
    if shape.grid_side > _MOST_PATCHES:
        raise ValueError(
            f"tower.patch_size: {shape.grid_side} patches a side are more than {_MOST_PATCHES}; choose "
            "larger patches"
        )
    if shape.hidden_size % 8:
        raise ValueError(
            f"tower.hidden_size {shape.hidden_size} must be a multiple of 8, the projectors' heads"
        )


def _check_size(study: Study) -> None:
    """Raise ValueError for more cells than snakemake can plan in minutes."""
    cells = sum(
        math.prod(map(len, (b.methods, b.llms, b.visual_tokens, b.seeds, b.budgets)))
        for b in study.grid
    )
    if cells > _MOST_CELLS:
        raise ValueError(
            f"grid: {cells:,} cells are more than {_MOST_CELLS:,}. Make several studies."
        )


def _check_names(study: Study) -> None:
    """Raise ValueError for a method, LLM or budget that does not exist."""
    llms, budgets = list(study.llms), [FULL, *study.budgets]
    used = [(f"methods.{name}", name) for name in study.methods]
    for i, block in enumerate(study.grid):
        used += [(f"grid.{i}.methods", name) for name in block.methods]
        _require(f"grid.{i}.llms", block.llms, llms, "under llms")
        _require(f"grid.{i}.budgets", block.budgets, budgets, "under budgets")
    for series, names in study.laws.series.items():
        used += [(f"laws.series.{series}", name) for name in names]
    for key, name in used:
        _check_variant(study, key, name)
    in_grid = sorted({name for block in study.grid for name in block.methods})
    _require("laws.holdout", study.laws.holdout, llms, "under llms")
    _require("laws.baseline", [study.baseline], in_grid, "in the grid")
    for i, rule in enumerate(study.exclude):
        _require(f"exclude.{i}.method", [rule.method], in_grid, "in the grid")
        _require(f"exclude.{i}.llm", [rule.llm], llms, "under llms")
        _require(f"exclude.{i}.budget", [rule.budget], budgets, "under budgets")


def _require(key: str, names: Iterable[str | None], known: Sequence[str], place: str) -> None:
    for name in names:
        if name is not None and name not in known:
            raise ValueError(f"{key}: {name!r} is not {place}. There are: {', '.join(known)}.")


def _check_variant(study: Study, key: str, name: str) -> None:
    try:
        needs = study.find_variant(name).method.needs
    except ValueError as error:
        message = str(error)  # begins with the key of the option if it is about one
        raise ValueError(message if message.startswith(key) else f"{key}: {message}") from None
    if CLS_NEEDS.intersection(needs) and not study.tower_shape.has_cls:
        raise ValueError(f"{key}: {explain_missing_cls(name)}")
    before_last = study.tower_shape.layers - 1
    if "tower_attention" in needs and before_last not in study.tower.feature_layers:
        raise ValueError(
            f"{key}: {name} reads the tower's last block, so tower.feature_layers must have "
            f"{before_last}, the layer before it"
        )
    before_patches = study.tower.feature_layers[-1] - 1
    if "block_attention" in needs and before_patches not in study.tower.feature_layers:
        raise ValueError(
            f"{key}: {name} reads the block that gives the patches, so tower.feature_layers must have "
            f"{before_patches}, the layer before its last"
        )


def _check_counts(study: Study) -> None:
    """Raise ValueError unless each method of the grid can give its V to its LLMs from a possible run."""
    side, decoders = study.tower_shape.grid_side, study.decoders
    for i, block in enumerate(study.grid):
        for name in block.methods:
            variant = study.find_variant(name)
            method, allowed = variant.method, variant.method.list_counts(side)
            if study.stage2.turns == "apart" and variant.options.get("count") == "adaptive":
                raise ValueError(
                    f"methods.{name}: count: adaptive hides tokens from all turns alike, which needs "
                    "stage2.turns: joined"
                )
            for v in block.visual_tokens:
                if v not in allowed:
                    raise ValueError(
                        f"grid.{i}.visual_tokens: {name} cannot give {v} visual tokens on a "
                        f"{side} x {side} grid. Choose from: {_format_counts(allowed)}."
                    )
                _check_served(study, f"grid.{i}", name, v)
                _check_room(study, f"grid.{i}", name, v, block.budgets)
            for llm in block.llms:
                if "llm_attention" in method.needs and decoders[llm].layers < 2:
                    raise ValueError(
                        f"grid.{i}: {name} acts between layers of the LLM, but {llm} has one"
                    )


def _check_served(study: Study, key: str, name: str, visual_tokens: int) -> None:
    """Raise ValueError unless the run that serves a cell can exist and has the options of the cell."""
    served, side = study.find_variant(name), study.tower_shape.grid_side
    server, tokens = served.find_training(visual_tokens, side)
    if server == name:
        return
    _check_variant(study, f"{key} (served by {server})", server)
    serving = study.find_variant(server)
    if serving.method.name != server:
        raise ValueError(
            f"{key}: {name} is served by the method {server}, but methods.{server} makes that "
            f"{serving.method.name}. Give the latter another name."
        )
    if tokens not in serving.method.list_counts(side):
        raise ValueError(
            f"{key}: {name} is served by {server} at {tokens} visual tokens, which a "
            f"{side} x {side} grid does not allow"
        )
    for option, value in served.options.items():
        if option != "training" and serving.options.get(option, value) != value:
            raise ValueError(
                f"{key}: {name} has {option}: {value}, but {server}, whose run serves it, is trained "
                f"with {option}: {serving.options[option]}. Choose the same for both."
            )


def _check_room(
    study: Study, key: str, name: str, visual_tokens: int, budgets: Sequence[str]
) -> None:
    """Raise ValueError where the visual tokens alone fill the sequences of a training."""
    side = study.tower_shape.grid_side
    server, tokens = study.find_variant(name).find_training(visual_tokens, side)
    formula = study.find_variant(
        server
    ).method.positions  # of what is trained: the same in all layers
    tokens = int(evaluate_formula(formula, {"p": side * side, "v": tokens, "m": 1}))
    for stage in STAGES:
        for budget in budgets:
            if (longest := study.get_recipe(stage, budget).max_length) <= tokens:
                raise ValueError(
                    f"{stage}.max_length: {longest} leaves no room for text beside the {tokens} visual "
                    f"tokens of {key}"
                )


def _check_laws(study: Study) -> None:
    if study.laws.size == "nominal" and study.is_generated:
        raise ValueError(
            "laws.size: nominal is the size in a released LLM's name; LLMs that a study makes have "
            "total and non_embedding"
        )
    for series, names in study.laws.series.items():
        blocks = [block for block in study.grid if set(block.methods) & set(names)]
        if not blocks:
            raise ValueError(f"laws.series.{series}: no cell of the grid has one of its methods")
        if all(llm in study.laws.holdout for block in blocks for llm in block.llms):
            raise ValueError(f"laws.series.{series}: all its LLMs are held out, none is fitted")


def _check_trainings(study: Study) -> None:
    """Raise ValueError unless recipes, stored features and machines go together."""
    recipes = [study.stage1] + [study.get_recipe("stage2", name) for name in (FULL, *study.budgets)]
    if study.vision_cache and "crop" in {recipe.aspect for recipe in recipes}:
        raise ValueError(
            "vision_cache: must be false for aspect: crop, since it keeps features of padded images"
        )
    if study.prompt_layout == "text_first" and "apart" in {recipe.turns for recipe in recipes}:
        raise ValueError(
            "prompt_layout: text_first puts a question before the image, which questions that stand "
            "apart cannot then share. Take turns: joined in stage1, stage2 and budgets."
        )
    cores = study.cluster.cpus_per_gpu
    for key, recipe in (("stage1", study.stage1), ("stage2", study.stage2)):
        if recipe.execution.workers >= cores:
            raise ValueError(
                f"{key}.execution.workers: {recipe.execution.workers} and the process they serve share "
                f"cluster.cpus_per_gpu {cores} cores. Take at most {cores - 1}."
            )


def _format_counts(counts: Sequence[int]) -> str:
    """Return token counts for people: "1 to 36" instead of all of them."""
    if len(counts) > 2 and len({b - a for a, b in pairwise(counts)}) == 1:
        step = counts[1] - counts[0]
        every = "" if step == 1 else f" in steps of {step}"
        return f"{counts[0]} to {counts[-1]}{every}"
    return ", ".join(map(str, counts))
