# How long answers take on this machine: one job per LLM, which times all its projectors, untrained. Only its own
# table and figure depend on it.

TIMED = list(dict.fromkeys(cell.llm for cell in CELLS.values()))


rule measure_latency:
    input:
        llm=f"{OUT}/backbones/{{llm}}",
        tower=f"{OUT}/backbones/tower",
    output:
        f"{OUT}/latency/{{llm}}.parquet",
    log:
        f"{OUT}/logs/latency/{{llm}}.log",
    benchmark:
        f"{OUT}/benchmarks/latency/{{llm}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    # All cores, so that no other job disturbs the timing. On a cluster snakemake knows no cores, and each job has
    # its own.
    threads: workflow.resource_settings.cores or 1
    resources:
        **resources_of(
            {llm: needs.request_latency(STUDY, llm) for llm in TIMED},
            lambda w: w.llm,
        ),
    params:
        spec=per("llm", SPECS.latency_spec),
        work=f"{WORK}/{{llm}}/latency",
    script:
        "../workflow/scripts/measure_latency.py"


rule latency:
    input:
        expand(f"{OUT}/latency/{{llm}}.parquet", llm=TIMED),
    output:
        f"{OUT}/latency.parquet",
    log:
        f"{OUT}/logs/latency.log",
    benchmark:
        f"{OUT}/benchmarks/latency.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        code=hash_code("latency.py"),
    script:
        "../workflow/scripts/latency.py"
