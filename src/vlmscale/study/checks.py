"""What the parts of a config must agree on. Every message names the key and what to do."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import BeforeValidator, ValidationError

from vlmscale.study.schema import Study
from vlmscale.study.selection import FULL

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


def check_consistent(study: Study) -> None:
    """Raise ValueError for the first contradiction between parts that are each valid already."""
    if study.study == "published":
        raise ValueError("study: results/published holds the paper's released numbers")
    if not {"tower", "tokenizer"}.isdisjoint(study.llms):
        raise ValueError("llms: tower and tokenizer are names of other backbones; rename the LLM")
    _check_budgets(study)
    _check_tower(study)
    _check_names(study)
    _check_counts(study)
    _check_laws(study)
    _check_trainings(study)


def _check_budgets(study: Study) -> None:
    if FULL in study.budgets:
        raise ValueError(f"budgets.{FULL}: this name means stage2 unchanged; choose another")
    for name, changes in study.budgets.items():
        if "execution" in changes:
            raise ValueError(f"budgets.{name}.execution: belongs to stage2, for all budgets")
        try:
            same = study.get_recipe("stage2", name) == study.stage2
        except ValidationError as error:
            raise ValueError("\n  ".join(complaints(error, f"budgets.{name}"))) from None
        if same:
            raise ValueError(f"budgets.{name}: changes nothing of stage2")


def _check_tower(study: Study) -> None:
    shape, last = study.tower_shape, max(study.tower.feature_layers)
    if last > shape.layers:
        raise ValueError(f"tower.feature_layers: {last} must be at most layers={shape.layers}")
    if shape.hidden_size % 8:
        raise ValueError(
            f"tower.hidden_size {shape.hidden_size} must be a multiple of 8, the projectors' heads"
        )


def _check_names(study: Study) -> None:
    """Raise ValueError for a method, LLM or budget that does not exist."""
    methods = [(f"methods.{name}", name) for name in study.methods]
    llms = [("laws.holdout", name) for name in study.laws.holdout]
    budgets = []
    for i, block in enumerate(study.grid):
        methods += [(f"grid.{i}.methods", name) for name in block.methods]
        llms += [(f"grid.{i}.llms", name) for name in block.llms]
        budgets += [(f"grid.{i}.budgets", name) for name in block.budgets]
    for series, names in study.laws.series.items():
        methods += [(f"laws.series.{series}", name) for name in names]
    in_grid = [("laws.baseline", study.baseline)]
    for i, rule in enumerate(study.exclude):
        in_grid += [(f"exclude.{i}.method", rule.method)] if rule.method is not None else []
        llms += [(f"exclude.{i}.llm", rule.llm)] if rule.llm is not None else []
        budgets += [(f"exclude.{i}.budget", rule.budget)] if rule.budget is not None else []

    for key, name in methods:
        _check_variant(study, key, name)
    _require(llms, list(study.llms), "is not under llms")
    _require(budgets, [FULL, *study.budgets], "is not under budgets")
    in_blocks = {name for block in study.grid for name in block.methods}
    _require(in_grid, sorted(in_blocks), "is not in the grid")


def _require(named: Sequence[tuple[str, str]], known: Collection[str], objection: str) -> None:
    for key, name in named:
        if name not in known:
            raise ValueError(f"{key}: {name!r} {objection}. There are: {', '.join(known)}.")


def _check_variant(study: Study, key: str, name: str) -> None:
    try:
        needs = study.find_variant(name).method.needs
    except ValueError as error:
        message = str(error)  # begins with the key of the option if it is about one
        raise ValueError(message if message.startswith(key) else f"{key}: {message}") from None
    before_last = study.tower_shape.layers - 1
    if "tower_attention" in needs and before_last not in study.tower.feature_layers:
        raise ValueError(
            f"{key}: {name} reads the tower's last block, so tower.feature_layers must have "
            f"{before_last}, the layer before it"
        )


def _check_counts(study: Study) -> None:
    """Raise ValueError unless each method of the grid can give its V to its LLMs from a possible run."""
    side = study.tower_shape.grid_side
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
            for llm in block.llms:
                if "llm_attention" in method.needs and study.decoders[llm].layers < 2:
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


def complaints(error: ValidationError, *within: str) -> list[str]:
    """Return a line for each thing that is wrong, with its key; `within` are the keys above it."""
    lines = []
    places = [e["loc"] for e in error.errors()]
    for e in error.errors():
        if any(place != e["loc"] and place[: len(e["loc"])] == e["loc"] != () for place in places):
            continue  # follows from an error further down, which is listed
        key = ".".join(map(str, [*within, *e["loc"]]))
        message = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            message = "unknown key. Remove it; `python -m vlmscale.study.reference` lists the keys."
        elif key and not isinstance(e["input"], dict):
            message += f" (got {e['input']!r})"
        lines.append(f"{key}: {message}" if key else message)
    return lines
