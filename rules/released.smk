# Data and backbones of a study without a world: released ones, in the places where those that are made lie.
# All run where snakemake does, since compute nodes often see no network, and again only when what is wanted
# changes: no change of code is worth another download.


rule prepare_dataset:
    output:
        directory(f"{OUT}/data/{{stage}}"),
    log:
        f"{OUT}/logs/data/{{stage}}.log",
    benchmark:
        f"{OUT}/benchmarks/data/{{stage}}.tsv"
    wildcard_constraints:
        stage="stage1|stage2",
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    threads: 8
    params:
        dataset=lambda w: getattr(STUDY.data, w.stage).dataset,
        raw="work/downloads",  # of all studies
    script:
        "../workflow/scripts/prepare_dataset.py"


rule fetch_benchmarks:
    input:
        table="resources/benchmarks.csv",
    output:
        directory(f"{OUT}/data/test"),
    log:
        f"{OUT}/logs/data/test.log",
    benchmark:
        f"{OUT}/benchmarks/data/test.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        benchmarks=list(STUDY.evaluation.benchmarks),
    script:
        "../workflow/scripts/fetch_benchmarks.py"


BACKBONES = {"tower": STUDY.tower, **STUDY.llms}


rule fetch_backbone:
    output:
        model=directory(f"{OUT}/backbones/{{backbone}}"),
        record=f"{OUT}/backbones/{{backbone}}.json",
    log:
        f"{OUT}/logs/backbones/{{backbone}}.log",
    benchmark:
        f"{OUT}/benchmarks/backbones/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=one_of(BACKBONES),
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        backbone=lambda w: BACKBONES[w.backbone].model_dump(mode="json"),
        pickled=lambda w: w.backbone in STUDY.pickled,
        work=f"{WORK}/fetch/{{backbone}}",
    script:
        "../workflow/scripts/fetch_backbone.py"
