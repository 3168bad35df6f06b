# Data and backbones of a study without a world: released ones, in the places where those that are made lie.
# Both run where snakemake does, since compute nodes often see no network, and again only when what is wanted
# changes: no change of code is worth another download.


rule prepare_dataset:
    output:
        directory(f"{OUT}/data/{{sample}}"),
    conda:
        "../envs/vlmscale.yaml"
    log:
        f"{OUT}/logs/data/{{sample}}.log",
    benchmark:
        f"{OUT}/benchmarks/data/{{sample}}.tsv"
    localrule: True
    params:
        dataset=lambda w: DATASETS[w.sample][0],
        expected=lambda w: DATASETS[w.sample][1],
    script:
        "../workflow/scripts/prepare_dataset.py"


BACKBONES = {"tower": STUDY.tower, **STUDY.llms}


rule fetch_backbone:
    output:
        model=directory(f"{OUT}/backbones/{{backbone}}"),
        record=f"{OUT}/backbones/{{backbone}}.json",
    conda:
        "../envs/vlmscale.yaml"
    log:
        f"{OUT}/logs/backbones/{{backbone}}.log",
    benchmark:
        f"{OUT}/benchmarks/backbones/{{backbone}}.tsv"
    wildcard_constraints:
        backbone="|".join(BACKBONES),
    localrule: True
    params:
        backbone=lambda w: BACKBONES[w.backbone].model_dump(mode="json"),
        work=f"{WORK}/fetch/{{backbone}}",
    script:
        "../workflow/scripts/fetch_backbone.py"
