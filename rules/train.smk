# Stage 1 (projector, captions) and stage 2 (projector and LLM, instructions) of every training run.
# Runs that differ in their budget alone share stage 1, under the id of the run with the full budget.
# Checkpoints are in work/ and no outputs: snakemake deletes the outputs of failed jobs.


rule train_stage1:
    input:
        unpack(per("run", SPECS.stage_inputs, "stage1")),
        tower=f"{OUT}/backbones/tower",
    output:
        result=f"{OUT}/runs/{{run}}/stage1/projector.safetensors",
        record=f"{OUT}/runs/{{run}}/stage1/run.json",
    log:
        f"{OUT}/logs/stage1/{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/stage1/{{run}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    resources:
        **SPECS.execution("stage1"),
        **resources_of(REQUESTS["stage1"], lambda w: w.run),
    params:
        spec=per("run", SPECS.stage_spec, "stage1"),
        work=per("run", SPECS.checkpoint_folder, "stage1"),
        tensorboard=f"{OUT}/tensorboard/{{run}}/stage1",
    script:
        "../workflow/scripts/train_stage.py"


rule train_stage2:
    input:
        unpack(per("run", SPECS.stage_inputs, "stage2")),
        tower=f"{OUT}/backbones/tower",
    output:
        result=directory(f"{OUT}/runs/{{run}}/stage2/model"),
        record=f"{OUT}/runs/{{run}}/stage2/run.json",
    log:
        f"{OUT}/logs/stage2/{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/stage2/{{run}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    resources:
        **SPECS.execution("stage2"),
        **resources_of(REQUESTS["stage2"], lambda w: w.run),
    params:
        spec=per("run", SPECS.stage_spec, "stage2"),
        work=per("run", SPECS.checkpoint_folder, "stage2"),
        tensorboard=f"{OUT}/tensorboard/{{run}}/stage2",
    script:
        "../workflow/scripts/train_stage.py"


# A training deletes its checkpoints at its end. This deletes those of killed, outdated and removed trainings, keeps
# those that will be resumed, and deletes what killed processes left half written.
rule clean_work:
    log:
        f"{OUT}/logs/clean_work.log",
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        work=WORK,
        results=OUT,
        current=lambda w: SPECS.checkpoint_records(),
    script:
        "../workflow/scripts/clean_work.py"
