# One tidy table of all cells, and the laws fitted on it.


rule collect:
    input:
        cells=f"{OUT}/cells.csv",
        scores=expand(f"{OUT}/cells/{{cell}}/scores.parquet", cell=CELLS),
        samples=expand(f"{OUT}/cells/{{cell}}/samples.parquet", cell=CELLS),
        stage1=expand(f"{OUT}/runs/{{run}}/stage1/run.json", run=RUNS),
        stage2=expand(f"{OUT}/runs/{{run}}/stage2/run.json", run=RUNS),
    output:
        errors=f"{OUT}/errors.parquet",
        chance=f"{OUT}/chance.parquet",
    log:
        f"{OUT}/logs/collect.log",
    benchmark:
        f"{OUT}/benchmarks/collect.tsv"
    localrule: True
    params:
        evaluated={cell: evaluation_fingerprint(cell) for cell in CELLS},
        trained={run: training_fingerprint(run) for run in RUNS},
        code=code_of("collect.py"),
    script:
        "../workflow/scripts/collect.py"


rule fit:
    input:
        errors=f"{OUT}/errors.parquet",
    output:
        laws=f"{OUT}/laws.parquet",
        intervals=f"{OUT}/intervals.parquet",
        forms=f"{OUT}/forms.parquet",
        frontier=f"{OUT}/frontier.parquet",
    log:
        f"{OUT}/logs/fit.log",
    benchmark:
        f"{OUT}/benchmarks/fit.tsv"
    localrule: True
    params:
        series={name: list(methods) for name, methods in STUDY.laws.series.items()},
        text_tokens=list(STUDY.laws.text_tokens),
        draws=STUDY.laws.bootstrap_draws,
        seed=STUDY.laws.seed,
        code=code_of("fit.py"),
    script:
        "../workflow/scripts/fit.py"
