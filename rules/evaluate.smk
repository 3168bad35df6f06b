# Evaluation by lmms-eval: one job per cell, with all benchmarks in one process.


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
