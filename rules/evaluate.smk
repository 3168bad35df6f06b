# lmms-eval: one job for each cell, all its benchmarks in one process.


rule evaluate_cell:
    input:
        model=lambda w: f"{OUT}/runs/{CELLS[w.cell].run}/stage2/model",
        data=f"{OUT}/data/test",
        features=lambda w: features_of("test", CELLS[w.cell].method),
        benchmarks="resources/benchmarks.csv",
    output:
        samples=f"{OUT}/cells/{{cell}}/samples.parquet",
        scores=f"{OUT}/cells/{{cell}}/scores.parquet",
    log:
        f"{OUT}/logs/evaluate/{{cell}}.log",
    benchmark:
        f"{OUT}/benchmarks/evaluate/{{cell}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    params:
        cell=lambda w: asdict(CELLS[w.cell]),
        trained=lambda w: setting(RUNS[CELLS[w.cell].run]),
        evaluated=lambda w: setting(CELLS[w.cell]),
        benchmarks=list(STUDY.evaluation.benchmarks),
        batch_size=STUDY.evaluation.batch_size,
        fingerprint=lambda w: evaluation_fingerprint(w.cell),
    script:
        "../workflow/scripts/evaluate_cell.py"
