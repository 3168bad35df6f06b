"""Model cards: what a trained VLM is, may be used for, scores and costs, as the hub's README.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vlmscale.costs.flops import answer_gflops
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.records.files import read_json
from vlmscale.records.texts import write_markdown
from vlmscale.resources import read_rows

_LOAD = """```python
import vlmscale as vs

model, processor = vs.load_model("{folder}")
inputs = processor.ask("image.png", "What is in the image?")
answer = model.generate(**inputs, max_new_tokens=32)[0, inputs["input_ids"].shape[1] :]
print(processor.tokenizer.decode(answer, skip_special_tokens=True))
```

transformers alone does not know this architecture. After `pip install "vlmscale[train]"` and
`import vlmscale.models`, its `AutoModelForImageTextToText` and `AutoProcessor` load the folder, too.
The weights are plain safetensors; no code travels with them.
"""


@dataclass(frozen=True)
class ModelFacts:
    """What a card says of a model."""

    name: str
    method: str
    visual_tokens: int
    backbones: Mapping[str, Mapping[str, Any]]  # "llm" and "tower" -> their records
    data: Sequence[Mapping[str, Any]]  # manifests of the training data
    run: Mapping[str, Any]  # run.json of stage 2
    # A study's errors of this run: method, visual_tokens, benchmark, family, score, n; one row a benchmark
    scores: pd.DataFrame
    gflops: float | None  # of an answer to a question of 50 tokens, from pixels; None if not known
    study: str


def write_card(facts: ModelFacts) -> str:
    """Return the card, with the hub's front matter."""
    licence = choose_licence(facts.backbones, facts.data)
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["vlmscale", facts.method, f"visual-tokens-{facts.visual_tokens}"],
        **licence.front_matter,
    }
    # Packages of PyPI are no models of the hub.
    if released := [name for name in _list_released(facts.backbones) if "/" in name]:
        head["base_model"] = released
    head["model-index"] = [{"name": facts.name, "results": _list_results(facts)}]
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        f"# {facts.name}",
        "",
        f"A vision-language model with {_count(facts.visual_tokens)} an image, compressed by "
        f"`{facts.method}`; trained in two stages, as LLaVA-1.5 is, by the study `{facts.study}` of "
        f"vlmscale {facts.run['versions']['vlmscale']} (code {facts.run['fingerprint']}).",
        "",
        "| | |",
        "| --- | --- |",
        *(
            f"| {part} | {record.get('repository') or 'trained by the study itself'} |"
            for part, record in facts.backbones.items()
        ),
        f"| parameters of the LLM | {facts.run['llm_parameters']:,} |",
        f"| parameters of the projector | {facts.run['projector_parameters']:,} |",
        f"| training | {facts.run['steps']:,} steps of stage 2, seed {facts.run['seed']} |",
        f"| licence of the data | {'; '.join(_list_licences(facts.data))} |",
    ]
    if facts.gflops is not None:
        lines.append(f"| an answer to a question of 50 tokens | {facts.gflops:,.4g} GFLOPs |")
    lines += ["", "## Use", "", licence.text, "", "## Load", "", _LOAD.format(folder=facts.name)]
    lines += ["## Scores", "", _tabulate(facts.scores), ""]
    return "\n".join(lines)


def write_cards(
    results: Path, study: str, errors: pd.DataFrame, *, shapes: Mapping[str, Decoder], tower: Tower
) -> None:
    """Write runs/{run}/stage2/README.md of every run of a study's results folder.

    errors: the study's table. shapes, tower: for the cost of an answer, left out for LLMs without a shape.
    """
    single = errors[errors["benchmark"] != "mean"]
    data = [
        read_json(file)
        for stage in ("stage1", "stage2")
        for file in sorted((results / "data").glob(f"{stage}*/manifest.json"))
    ]
    for run, scores in single.groupby("run", sort=True):
        stage2 = results / "runs" / str(run) / "stage2"
        record, llm = read_json(stage2 / "run.json"), str(scores["llm"].iloc[0])
        method, v = record["method"], int(record["visual_tokens"])
        cost = answer_gflops(shapes[llm], tower, method, v, 50).total if llm in shapes else None
        facts = ModelFacts(
            name=f"{study}-{run}",
            method=method,
            visual_tokens=v,
            backbones={
                part: read_json(results / "backbones" / f"{name}.json")
                for part, name in (("llm", llm), ("tower", "tower"))
            },
            data=data,
            run=record,
            scores=scores,
            gflops=cost,
            study=study,
        )
        write_markdown(stage2 / "README.md", write_card(facts))


@dataclass(frozen=True)
class Licence:
    """What may be done with a model."""

    front_matter: Mapping[str, str]
    text: str
    known: bool  # else the model must not be passed on


def choose_licence(
    backbones: Mapping[str, Mapping[str, Any]], data: Sequence[Mapping[str, Any]]
) -> Licence:
    """Return the licence that backbones and data leave to a model, by resources/licences.csv.

    backbones: the records of "llm" and "tower". data: manifests of the training data.
    """
    released = _list_released(backbones)
    generated = all(text.startswith("generated") for text in _list_licences(data))
    if not released and generated:
        text = "Backbones and data were generated by the study: Apache-2.0, for any use."
        return Licence({"license": "apache-2.0"}, text, known=True)
    table = {row["backbone"]: row for row in read_rows("licences.csv")}
    unknown = [name for name in released if name not in table]
    if unknown:
        text = (
            f"The licence of {' and '.join(unknown)} is not known here, so this model must not be passed "
            "on. Read it; if it allows that, add a row to resources/licences.csv."
        )
        return Licence({"license": "unknown"}, text, known=False)
    terms = [
        f"{name}: {table[name]['licence_name'] or table[name]['hub_licence']}"
        + (f" ({table[name]['condition']})" if table[name]["condition"] else "")
        for name in released
    ]
    if not generated:
        text = (
            "For research only, as the terms of the training data ask: "
            f"{'; '.join(_list_licences(data))}. {'. '.join(terms)}."
        )
        return Licence({"license": "other", "license_name": "research-only"}, text, known=True)
    llm = table.get(str(backbones["llm"].get("repository")), {})
    front = {"license": llm.get("hub_licence") or "apache-2.0"}
    if llm.get("licence_name"):
        front["license_name"] = llm["licence_name"]
    return Licence(front, f"Under the licences of its backbones. {'. '.join(terms)}.", known=True)


def _list_released(backbones: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [str(one["repository"]) for one in backbones.values() if one.get("repository")]


def _list_licences(data: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(manifest.get("licence", "unknown")) for manifest in data))


def _list_results(facts: ModelFacts) -> list[dict[str, Any]]:
    trained = facts.scores[
        (facts.scores["method"] == facts.method)
        & (facts.scores["visual_tokens"] == facts.visual_tokens)
    ]
    return [
        {
            "task": {"type": "image-text-to-text"},
            "dataset": {"name": row["benchmark"], "type": row["benchmark"]},
            "metrics": [{"type": "score", "value": round(float(row["score"]), 4)}],
        }
        for row in trained.to_dict("records")
    ]


def _tabulate(scores: pd.DataFrame) -> str:
    share = scores["score"].to_numpy(float)
    # No score in [0, 1] varies more than right and wrong answers do.
    half = 1.96 * np.sqrt(share * (1 - share) / scores["n"].to_numpy(float))
    table = pd.DataFrame(
        {
            "method": scores["method"],
            "V": scores["visual_tokens"],
            "benchmark": scores["benchmark"],
            "score": [f"{value:.3f}" for value in share],
            "95 %, over questions": [
                f"{max(low, 0):.3f} to {min(high, 1):.3f}"
                for low, high in zip(share - half, share + half, strict=True)
            ],
            "questions": scores["n"],
        }
    )
    return str(table.to_markdown(index=False, disable_numparse=True))


def _count(visual_tokens: int) -> str:
    return f"{visual_tokens} visual token{'s' if visual_tokens > 1 else ''}"
