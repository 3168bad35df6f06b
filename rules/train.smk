# Stage 1 (projector, captions) and stage 2 (projector and LLM, instructions) of every training run.
# Training checkpoints live in work/, undeclared: snakemake deletes declared outputs of failed jobs.


def stage_spec(kind):
    """What decides the result of a stage of a run, and nothing else: only this reruns it."""
    recipe = getattr(STUDY, kind).model_dump(mode="json")

    def spec(wildcards):
        run = RUNS[wildcards.run]
        return {
            "kind": kind,
            "run": run.run,
            "method": run.method,
            "visual_tokens": run.visual_tokens,
            "seed": run.seed,
            "options": options_of(run.method),
            "template": STUDY.template,
            "feature_layers": list(STUDY.tower.feature_layers),
            "recipe": recipe,
            "fingerprint": training_fingerprint(run.run),
        }

    return spec


def llm_of(wildcards):
    return f"{OUT}/backbones/{RUNS[wildcards.run].llm}"


rule train_stage1:
    input:
        data=f"{OUT}/data/stage1",
        features=features_of("stage1"),
        tower=f"{OUT}/backbones/tower",
        llm=llm_of,
    output:
        result=f"{OUT}/runs/{{run}}/stage1/projector.safetensors",
        record=f"{OUT}/runs/{{run}}/stage1/run.json",
    log:
        f"{OUT}/logs/stage1/{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/stage1/{{run}}.tsv"
    params:
        spec=stage_spec("stage1"),
        work=lambda w: f"{WORK}/{w.run}/stage1/{training_fingerprint(w.run)}",
        tensorboard=f"{OUT}/tensorboard/{{run}}/stage1",
    script:
        "../workflow/scripts/train_stage.py"


rule train_stage2:
    input:
        data=f"{OUT}/data/stage2",
        features=features_of("stage2"),
        tower=f"{OUT}/backbones/tower",
        llm=llm_of,
        projector=f"{OUT}/runs/{{run}}/stage1/projector.safetensors",
    output:
        result=directory(f"{OUT}/runs/{{run}}/stage2/model"),
        record=f"{OUT}/runs/{{run}}/stage2/run.json",
    log:
        f"{OUT}/logs/stage2/{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/stage2/{{run}}.tsv"
    params:
        spec=stage_spec("stage2"),
        work=lambda w: f"{WORK}/{w.run}/stage2/{training_fingerprint(w.run)}",
        tensorboard=f"{OUT}/tensorboard/{{run}}/stage2",
    script:
        "../workflow/scripts/train_stage.py"
