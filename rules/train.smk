# Stage 1 (projector, captions) and stage 2 (projector and LLM, instructions) of every training run.
# Training checkpoints live in work/, undeclared: snakemake deletes declared outputs of failed jobs.


rule train_stage1:
    input:
        data=f"{OUT}/data/stage1",
        features=lambda w: features_of("stage1", RUNS[w.run].method),
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
        features=lambda w: features_of("stage2", RUNS[w.run].method),
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
