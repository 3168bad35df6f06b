# Evaluation by lmms-eval: one job per cell, with all benchmarks in one process. One tidy table of all cells.


rule evaluate_cell:
    input:
        unpack(per("cell", SPECS.evaluation_inputs)),
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
                name: needs.request_evaluation(STUDY, cell, QUESTIONS)
                for name, cell in CELLS.items()
            },
            lambda w: w.cell,
        ),
    params:
        spec=per("cell", SPECS.evaluation_spec),
        benchmarks=[BENCHMARKS[name] for name in STUDY.evaluation.benchmarks],
        work=f"{WORK}/{{cell}}/evaluate",
    script:
        "../workflow/scripts/evaluate_cell.py"


rule collect:
    input:
        scores=lambda w: expand(f"{OUT}/cells/{{cell}}/scores.parquet", cell=CELLS),
        samples=lambda w: expand(f"{OUT}/cells/{{cell}}/samples.parquet", cell=CELLS),
        stage1=lambda w: expand(
            f"{OUT}/runs/{{run}}/stage1/run.json", run=TRAININGS["stage1"]
        ),
        stage2=lambda w: expand(f"{OUT}/runs/{{run}}/stage2/run.json", run=RUNS),
    output:
        errors=f"{OUT}/errors.parquet",
        samples=f"{OUT}/samples.parquet",
        chance=f"{OUT}/chance.parquet",
        trainings=f"{OUT}/trainings.parquet",
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
        nominal=STUDY.nominal_sizes,
        size_axis=STUDY.size_axis,
        methods=SPECS.method_settings(),
        tower={"name": STUDY.tower_name, "shape": TOWER},
        code=hash_code("collect.py"),
    script:
        "../workflow/scripts/collect.py"
