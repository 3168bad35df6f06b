# Released VLMs, evaluated by lmms-eval's own adapters: one job per cell, with all benchmarks in one process. What the
# rules of trained studies make of trainings is made here of models.


MODELS = STUDY.models


rule models:
    input:
        expand(f"{OUT}/models/{{model}}", model=MODELS),
        f"{OUT}/data/test",


rule fetch_vlm:
    output:
        model=directory(f"{OUT}/models/{{model}}"),
        record=f"{OUT}/models/{{model}}.json",
    log:
        f"{OUT}/logs/models/{{model}}.log",
    benchmark:
        f"{OUT}/benchmarks/models/{{model}}.tsv"
    wildcard_constraints:
        model=one_of(MODELS),
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        model=lambda w: MODELS[w.model].model_dump(mode="json"),
        work=f"{WORK}/fetch/{{model}}",
    script:
        "../workflow/scripts/fetch_vlm.py"


rule evaluate_vlm:
    input:
        model=per("cell", SPECS.model_of),
        data=f"{OUT}/data/test",
    output:
        samples=f"{OUT}/cells/{{cell}}/samples.parquet",
        scores=f"{OUT}/cells/{{cell}}/scores.parquet",
    log:
        f"{OUT}/logs/evaluate/{{cell}}.log",
    benchmark:
        f"{OUT}/benchmarks/evaluate/{{cell}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    resources:
        **resources_of(
            {
                name: request_model_evaluation(STUDY, cell, QUESTIONS)
                for name, cell in CELLS.items()
            },
            lambda w: w.cell,
        ),
    params:
        spec=per("cell", SPECS.evaluation_spec),
        benchmarks=[BENCHMARKS[name] for name in STUDY.evaluation.benchmarks],
        work=f"{WORK}/{{cell}}/evaluate",
    script:
        "../workflow/scripts/evaluate_vlm.py"


rule collect_vlms:
    input:
        scores=lambda w: expand(f"{OUT}/cells/{{cell}}/scores.parquet", cell=CELLS),
        samples=lambda w: expand(f"{OUT}/cells/{{cell}}/samples.parquet", cell=CELLS),
        records=expand(f"{OUT}/models/{{model}}.json", model=MODELS),
    output:
        errors=f"{OUT}/errors.parquet",
        samples=f"{OUT}/samples.parquet",
        chance=f"{OUT}/chance.parquet",
        visual_tokens=f"{OUT}/visual_tokens.parquet",
        visual_tokens_md=f"{OUT}/tables/visual_tokens.md",
        visual_tokens_tex=f"{OUT}/tables/visual_tokens.tex",
    log:
        f"{OUT}/logs/collect.log",
    benchmark:
        f"{OUT}/benchmarks/collect.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        study=STUDY.study,
        cells=[asdict(cell) for cell in CELLS.values()],
        fingerprints=SPECS.result_fingerprints(),
        sizes=SPECS.sizes(),
        code=hash_code("collect_vlms.py"),
    script:
        "../workflow/scripts/collect_vlms.py"
