# lmms-eval: one job for each cell, all its benchmarks in one process.


rule evaluate_cell:
    input:
        model=lambda w: f"{OUT}/runs/{CELLS[w.cell].run}/stage2/model",
        data=f"{OUT}/data/test",
        features=lambda w: features_of("test", CELLS[w.cell].method),
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
            lambda w: needs.of_inference(STUDY, STUDY.decoders[CELLS[w.cell].llm])
        ),
    params:
        spec=evaluation_spec,
        benchmarks=[BENCHMARKS[name] for name in STUDY.evaluation.benchmarks],
        work=lambda w: f"{WORK}/{w.cell}/evaluate",
    script:
        "../workflow/scripts/evaluate_cell.py"
