"""What the parts of a study's config must not contradict, each with a message that names the key."""

from collections.abc import Sequence
from itertools import pairwise

from pydantic import ValidationError

from vlmscale.errors import UserError
from vlmscale.methods import method_names
from vlmscale.settings import Dataset, Released
from vlmscale.study.schema import MADE, RELEASED, Study
from vlmscale.study.selection import FULL


class Contradiction(ValueError):
    """Two parts of a config that cannot both be meant."""


def check_consistent(study: Study) -> None:
    """Raise Contradiction for the first contradiction; each key by itself is valid already."""
    if study.study == "published":
        raise Contradiction("study: results/published holds the paper's released numbers")
    _check_budgets(study)
    _check_origin(study)
    _check_shapes(study)
    _check_names(study)
    _check_counts(study)
    _check_laws(study)
    _check_exclusions(study)
    _check_trainings(study)


def _check_budgets(study: Study) -> None:
    if FULL in study.budgets:
        raise Contradiction(f"budgets.{FULL}: this name is taken by stage2 as it stands")
    for name, changes in study.budgets.items():
        if "execution" in changes:
            raise Contradiction(
                f"budgets.{name}.execution: belongs to stage2, it is the same for all budgets"
            )
        try:
            same = study.stage2_at(name) == study.stage2
        except ValidationError as error:
            raise Contradiction("\n  ".join(complaints(error, f"budgets.{name}"))) from None
        if same:
            raise Contradiction(f"budgets.{name}: changes nothing of stage2")
    named = [(f"grid.{i}.budgets", b) for i, block in enumerate(study.grid) for b in block.budgets]
    named += [
        (f"exclude.{i}.budget", r.budget)
        for i, r in enumerate(study.exclude)
        if r.budget is not None
    ]
    for key, name in named:
        if name != FULL and name not in study.budgets:
            known = ", ".join([FULL, *study.budgets])
            raise Contradiction(f"{key}: no budget {name!r} is defined. There are: {known}.")


def _check_origin(study: Study) -> None:
    """A study makes its data and backbones, or it takes released ones."""
    released = {
        "data": isinstance(study.data.stage1, Dataset),
        "tower": isinstance(study.tower, Released),
    }
    released |= {f"llms.{name}": isinstance(llm, Released) for name, llm in study.llms.items()}
    for key, is_released in released.items():
        if is_released == (study.world is not None):
            has = "with a world" if study.world else "without a world"
            needs = "must be made" if study.world else "must be released"
            raise Contradiction(
                f"{key}: {needs}, in a study {has}. Data and backbones are all generated and trained "
                "from a `world`, or all released; see config/README.md"
            )
    fetched = [] if study.world else ["tower", *study.llms]
    for name in set(study.pickled) - set(fetched):
        raise Contradiction(
            f"pickled: {name!r} is not fetched: {', '.join(fetched) or 'nothing is'}"
        )
    if "tower" in study.llms or "tokenizer" in study.llms:
        raise Contradiction("llms: tower and tokenizer are taken as names of backbones")


def _check_shapes(study: Study) -> None:
    try:
        shape, _ = study.tower_shape, study.decoders
    except UserError as error:
        raise Contradiction(str(error)) from None
    if shape.image_size % shape.patch_size:
        raise Contradiction(
            f"world.image_size {shape.image_size} is not a multiple of "
            f"tower.patch_size {shape.patch_size}"
        )
    for layer in study.tower.feature_layers:
        if layer > shape.layers:
            raise Contradiction(
                f"tower.feature_layers: {layer} must be between 0 and layers={shape.layers}"
            )
    if shape.hidden_size % 8:
        raise Contradiction(
            f"tower.hidden_size {shape.hidden_size} must be a multiple of 8, the compressors' "
            "attention heads"
        )


def _check_names(study: Study) -> None:
    """Whatever a method or an LLM is named at is one that there is."""
    named = [(f"methods.{name}", name) for name in study.methods]
    for i, block in enumerate(study.grid):
        named += [(f"grid.{i}.methods", name) for name in block.methods]
        for llm in set(block.llms) - set(study.llms):
            raise Contradiction(
                f"grid.{i}.llms: {llm!r} is not under llms: {', '.join(study.llms)}"
            )
    for series, names in study.laws.series.items():
        named += [(f"laws.series.{series}", name) for name in names]
    for key, name in named:
        if name not in study.methods and name not in method_names():
            raise Contradiction(
                f"{key}: no method {name!r}. There are: {', '.join(method_names())}."
            )
        _check_variant(study, key, name)


def _check_variant(study: Study, key: str, name: str) -> None:
    try:
        found = study.variant(name)
    except UserError as error:
        words = str(error)  # names the option by its key, if it is about one
        raise Contradiction(words if words.startswith(key) else f"{key}: {words}") from None
    if "tower_attention" in found.method.needs:
        before_last = study.tower_shape.layers - 1
        if before_last not in study.tower.feature_layers:
            raise Contradiction(
                f"{key}: {name} reads the tower's last block, so tower.feature_layers must have "
                f"{before_last}, the layer before it"
            )


def _check_counts(study: Study) -> None:
    """Every method of the grid can give its visual tokens, to its LLMs, from a run that can be."""
    side = study.grid_side
    for i, block in enumerate(study.grid):
        for name in block.methods:
            method = study.variant(name).method
            allowed = method.supported(side)
            for v in set(block.visual_tokens) - set(allowed):
                raise Contradiction(
                    f"grid.{i}.visual_tokens: {name} cannot give {v} visual tokens on a "
                    f"{side} x {side} grid. Choose from: {_ranges(allowed)}."
                )
            for v in block.visual_tokens:
                _check_served(study, f"grid.{i}", name, v)
            for llm in block.llms:
                if "llm_attention" in method.needs and study.decoders[llm].layers < 2:
                    raise Contradiction(
                        f"grid.{i}: {name} acts between layers of the LLM, but {llm} has one"
                    )


def _check_served(study: Study, key: str, name: str, visual_tokens: int) -> None:
    """The run that serves a cell must be possible, and made with the options that they share."""
    found, side = study.variant(name), study.grid_side
    server, tokens = found.trained_as(visual_tokens, side)
    if server == name:
        return
    _check_variant(study, f"{key} (served by {server})", server)
    serving = study.variant(server)
    if serving.method.name != server:
        raise Contradiction(
            f"{key}: {name} is served by the method {server}, but methods.{server} makes that "
            f"{serving.method.name}. Give the latter another name."
        )
    if tokens not in serving.method.supported(side):
        raise Contradiction(
            f"{key}: {name} is served by {server} at {tokens} visual tokens, which a "
            f"{side} x {side} grid does not allow"
        )
    for option, value in found.options.items():
        if option != "training" and serving.options.get(option, value) != value:
            raise Contradiction(
                f"{key}: {name} has {option}: {value}, but {server}, which it is served by, is trained "
                f"with {option}: {serving.options[option]}. Choose the same for both."
            )


def _check_laws(study: Study) -> None:
    laws, used = study.laws, _used(study)
    for series, names in laws.series.items():
        if not used & set(names):
            raise Contradiction(f"laws.series.{series}: no cell of the grid has one of its methods")
        fitted = {
            llm
            for block in study.grid
            for llm in block.llms
            if set(block.methods) & set(names) and llm not in laws.holdout
        }
        if not fitted:
            raise Contradiction(f"laws.series.{series}: all its LLMs are held out, none is fitted")
    if study.baseline not in used:
        raise Contradiction(
            f"laws.baseline: {study.baseline!r} is not in the grid: {', '.join(sorted(used))}"
        )
    if study.world and laws.size == "nominal":
        raise Contradiction(
            "laws.size: nominal is the size in a released LLM's name; LLMs that a study makes have "
            "total and non_embedding"
        )
    for llm in set(laws.holdout) - set(study.llms):
        raise Contradiction(f"laws.holdout: {llm!r} is not under llms: {', '.join(study.llms)}")


def _check_exclusions(study: Study) -> None:
    used = _used(study)
    for i, rule in enumerate(study.exclude):
        if rule.method is not None and rule.method not in used:
            raise Contradiction(
                f"exclude.{i}.method: {rule.method!r} is not in the grid: {', '.join(sorted(used))}"
            )
        if rule.llm is not None and rule.llm not in study.llms:
            raise Contradiction(
                f"exclude.{i}.llm: {rule.llm!r} is not under llms: {', '.join(study.llms)}"
            )


def _check_trainings(study: Study) -> None:
    """Recipes, methods and stored features go together."""
    for name in _used(study):
        count = study.variant(name).options.get("count")
        if study.stage2.turns == "apart" and count == "adaptive":
            raise Contradiction(
                f"methods.{name}: count: adaptive hides tokens from all turns alike, which needs "
                "stage2.turns: joined"
            )
    recipes = (study.stage1, *(study.stage2_at(budget) for budget in (FULL, *study.budgets)))
    if study.vision_cache and "crop" in {recipe.aspect for recipe in recipes}:
        raise Contradiction(
            "vision_cache: true keeps the features of padded images; "
            "aspect: crop needs vision_cache: false"
        )
    cores = study.cluster.cpus_per_gpu
    for key, recipe in (("stage1", study.stage1), ("stage2", study.stage2)):
        if recipe.execution.workers >= cores:
            raise Contradiction(
                f"{key}.execution.workers: {recipe.execution.workers} and the process that they serve "
                f"have cluster.cpus_per_gpu {cores} cores. Take at most {cores - 1}."
            )


def _used(study: Study) -> set[str]:
    """The methods of the grid."""
    return {name for block in study.grid for name in block.methods}


def _ranges(counts: Sequence[int]) -> str:
    """Token counts for people: 1 to 36 instead of all of them."""
    if len(counts) > 2 and len({b - a for a, b in pairwise(counts)}) == 1:
        step = counts[1] - counts[0]
        every = "" if step == 1 else f" in steps of {step}"
        return f"{counts[0]} to {counts[-1]}{every}"
    return ", ".join(map(str, counts))


def complaints(error: ValidationError, *within: str) -> list[str]:
    """A line for each thing that is wrong, with its key; `within` are the keys above it."""
    lines = []
    places = [e["loc"] for e in error.errors()]
    for e in error.errors():
        if any(place != e["loc"] and place[: len(e["loc"])] == e["loc"] != () for place in places):
            continue  # follows from an error further down, which is listed
        named = [part for part in e["loc"] if part not in (MADE, RELEASED)]
        key = ".".join(map(str, [*within, *named]))
        if e["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key. Remove it, or see config/README.md for the keys.")
            continue
        message = e["msg"].removeprefix("Value error, ")
        value = "" if isinstance(e["input"], dict) else f" (got {e['input']!r})"
        lines.append(f"{key}: {message}{value}" if key else message)
    return lines
