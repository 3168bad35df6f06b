"""Settings, inputs and folders of every job of a study, and fingerprints of the code it runs.

Snakemake reruns a job when its spec changes: a spec holds what decides the job's result, nothing else.
"""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from vlmscale.jobs.fingerprint import PACKAGE, fingerprint
from vlmscale.settings import Stage, StageRecipe
from vlmscale.study.grid import Cell, Run, expand_grid, list_laws, list_stage1_trainings
from vlmscale.study.schema import Study

ANALYSIS_STACK = ("numpy", "pandas", "pyarrow", "scipy")
FIGURE_STACK = ("matplotlib", "pandas", "seaborn")
TRAINING_STACK = ("torch", "transformers", "accelerate", "tokenizers")
EVALUATION_STACK = (*TRAINING_STACK, "lmms-eval")

# Config keys that never change a result, as pydantic's `exclude` takes them.
WITHOUT_EFFECT_ON_RESULTS: dict[str, Any] = {
    "cluster": True,
    "latency": True,
    "stage1": {"execution"},
    "stage2": {"execution"},
}

Spec = dict[str, Any]  # values that JSON has: they become params of a rule
Inputs = dict[str, str | list[str]]  # by name; [] where a job needs no such file


class JobSpecs:
    """The jobs of one study: its cells, runs and laws, and the spec and input files of each job."""

    def __init__(self, study: Study, scripts: Path) -> None:
        """Expand the grid of `study`. scripts: the folder of the workflow's scripts.

        Raises UserError for a grid or a law without cells, and for two of one name.
        """
        self.study = study
        self.scripts = scripts
        self.out, self.work = f"results/{study.study}", f"work/{study.study}"
        self.cells, self.runs = expand_grid(study)
        self.laws = list_laws(study, self.cells.values())
        self.trainings: dict[Stage, dict[str, Run]] = {
            "stage1": list_stage1_trainings(self.runs.values()),
            "stage2": self.runs,
        }

    def features_of(self, sample: str, split: str, method: str) -> str | list[str]:
        """Return the folder of a sample's stored tower features, or [] where pixels are encoded anew."""
        return f"{self.out}/vision/{sample}" if self.study.stores_features(method, split) else []

    def setting(self, served: Cell | Run) -> Spec:
        """Return what the projector of a cell or a run is built from."""
        variant = self.study.find_variant(served.method)
        return variant.method.make_setting(served.visual_tokens, **variant.options).model_dump()

    def method_settings(self) -> dict[str, Spec]:
        """Return method and options behind each name that the study's cells use."""
        names = sorted({cell.method for cell in self.cells.values()})
        chosen = {name: self.study.find_variant(name) for name in names}
        return {name: {"method": v.method.name, "options": v.options} for name, v in chosen.items()}

    def tower_settings(self) -> Spec:
        """Return what of the vision tower is read: its layers, and the size of its images if chosen."""
        tower, size = self.study.tower, self.study.chosen_image_size
        chosen = {} if size is None else {"image_size": size}
        return {"feature_layers": list(tower.feature_layers), **chosen}

    def encoding_precision(self) -> Spec:
        """Return the precision of stored features where it is not fp32: that of both stages."""
        stages = (self.study.stage1, self.study.stage2)
        return {"precision": "bf16"} if all(s.precision == "bf16" for s in stages) else {}

    def prompt_settings(self) -> Spec:
        """Return the layout of prompts, if it is not the default: present studies stay up to date."""
        layout = self.study.prompt_layout
        return {} if layout == "image_first" else {"prompt_layout": layout}

    def stage_spec(self, stage: Stage, name: str) -> Spec:
        """Return what decides the result of the training `name` of a stage."""
        run = self.trainings[stage][name]
        return {
            "kind": stage,
            "run": name,
            **self.setting(run),
            "seed": run.seed,
            "template": self.study.template,
            **self.tower_settings(),
            **self.prompt_settings(),
            "recipe": _dump_recipe(self.study.get_recipe(stage, run.budget)),
            "fingerprint": self.training_fingerprint(run.method),
        }

    def stage_inputs(self, stage: Stage, name: str) -> Inputs:
        """Return what the training `name` of a stage reads, beside the tower."""
        run = self.trainings[stage][name]
        sample, _ = self.study.choose_sample(stage, run.seed)
        inputs: Inputs = {
            "data": f"{self.out}/data/{sample}",
            "features": self.features_of(sample, stage, run.method),
            "llm": f"{self.out}/backbones/{run.llm}",
        }
        if stage == "stage2":
            inputs["projector"] = f"{self.out}/runs/{run.stage1}/stage1/projector.safetensors"
        return inputs

    def execution(self, stage: Stage) -> dict[str, int]:
        """Return how a stage is carried out where the config says so: resources, which rerun nothing.

        What planning chooses for each training ("auto") is part of its request.
        """
        recipe = self.study.stage1 if stage == "stage1" else self.study.stage2
        chosen = recipe.execution.model_dump(exclude_defaults=True)
        return {name: int(value) for name, value in chosen.items() if value != "auto"}

    def checkpoint_folder(self, stage: Stage, name: str) -> str:
        """Return where a training keeps its checkpoints; other code never resumes from them."""
        code = self.training_fingerprint(self.trainings[stage][name].method)
        return f"{self.work}/{name}/{stage}/{code}"

    def checkpoint_records(self) -> dict[str, str]:
        """Return {checkpoint folder: the record that its training writes at its end} of all trainings."""
        code = self.backbone_fingerprint()
        backbones = {
            f"{self.work}/{name}/{code}": f"{self.out}/backbones/{name}.json"
            for name in ("tower", *self.study.llms)
        }
        return backbones | {
            self.checkpoint_folder(stage, name): f"{self.out}/runs/{name}/{stage}/run.json"
            for stage, runs in self.trainings.items()
            for name in runs
        }

    def evaluation_spec(self, name: str) -> Spec:
        """Return what decides the answers of a cell."""
        cell = self.cells[name]
        return {
            "cell": asdict(cell),
            "trained": self.setting(self.runs[cell.run]),
            "evaluated": self.setting(cell),
            "protocol": self.study.evaluation.protocol,
            "batch_size": self.study.evaluation.batch_size,
            **self.prompt_settings(),
            "fingerprint": self.evaluation_fingerprint(name),
        }

    def evaluation_inputs(self, name: str) -> Inputs:
        """Return the model of a cell and, where they are stored, the features of its images."""
        cell = self.cells[name]
        return {
            "model": f"{self.out}/runs/{cell.run}/stage2/model",
            "features": self.features_of("test", "test", cell.method),
        }

    def latency_spec(self, llm: str) -> Spec:
        """Return what is timed of an LLM: each (method, visual tokens) of its cells once."""
        timed = {
            (cell.method, cell.visual_tokens): cell
            for cell in self.cells.values()
            if cell.llm == llm
        }
        return {
            "name": llm,
            "settings": [{"name": cell.method, **self.setting(cell)} for cell in timed.values()],
            "text_tokens": list(self.study.laws.text_tokens),
            **self.tower_settings(),
            "template": self.study.template,
            "precision": self.study.stage2.precision,
            "fingerprint": self.hash_code(
                "measure_latency.py",
                "vlmscale.latency.measure",
                *sorted({self.projector_module(method) for method, _ in timed}),
                packages=TRAINING_STACK,
            ),
        }

    def projector_module(self, method: str) -> str:
        """Return the module of the method that the study calls `method`."""
        return f"vlmscale.models.projectors.{self.study.find_variant(method).method.name}"

    def hash_code(
        self, script: str, *modules: str, packages: tuple[str, ...] = ANALYSIS_STACK
    ) -> str:
        """Return the fingerprint of a script, of `modules` that it starts by name, and of `packages`."""
        return hash_script(self.scripts / script, modules, packages)

    def training_fingerprint(self, method: str) -> str:
        """Return the fingerprint of the code that trains a run with `method`."""
        modules = ("vlmscale.training.stages", self.projector_module(method))
        return self.hash_code("train_stage.py", *modules, packages=TRAINING_STACK)

    def backbone_fingerprint(self) -> str:
        """Return the fingerprint of the code that trains a tower or an LLM from nothing."""
        module = "vlmscale.training.backbones"
        return self.hash_code("train_backbone.py", module, packages=TRAINING_STACK)

    def evaluation_fingerprint(self, name: str) -> str:
        """Return the fingerprint of the code that answers a cell's questions."""
        methods = {self.cells[name].method, self.runs[self.cells[name].run].method}
        modules = frozenset(map(self.projector_module, methods))
        return hash_evaluation(self.scripts / "evaluate_cell.py", modules)

    def result_fingerprints(self) -> dict[str, dict[str, str]]:
        """Return {rule: {cell or training: fingerprint}} of everything that results are collected from."""
        trained = {
            f"train_{stage}": {
                name: self.training_fingerprint(run.method) for name, run in runs.items()
            }
            for stage, runs in self.trainings.items()
        }
        evaluated = {name: self.evaluation_fingerprint(name) for name in self.cells}
        return {"evaluate_cell": evaluated, **trained}


# Cached, because snakemake asks for every job.


@cache
def _dump_recipe(recipe: StageRecipe) -> Spec:
    return recipe.model_dump(mode="json", exclude={"execution"})


@cache
def hash_script(script: Path, modules: tuple[str, ...], packages: tuple[str, ...]) -> str:
    """Return the fingerprint of a script, of `modules` that it starts by name, and of `packages`."""
    return fingerprint(modules, scripts=[script], packages=packages)


@cache
def hash_evaluation(
    script: Path, modules: frozenset[str], packages: tuple[str, ...] = EVALUATION_STACK
) -> str:
    """Return the fingerprint of an evaluation: its script, `modules`, tasks and `packages`."""
    tasks = PACKAGE / "evaluation" / "tasks"
    return fingerprint(
        ["vlmscale.evaluation.run", *modules],
        scripts=[script, *tasks.glob("*.py")],
        files=tasks.rglob("*.yaml"),
        packages=packages,
    )
