# Data and backbones of a study of released ones, in the places where a generated study makes its own. All rules
# run where snakemake does, since compute nodes often have no network, and carry no fingerprint: a change of code
# is not worth another download.


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
        raw=RAW,
    script:
        "../workflow/scripts/prepare_dataset.py"


BACKBONES = {"tower": STUDY.tower, **STUDY.llms}


def announce_downloads(jobs):
    """Print what will be downloaded and how long that takes, except benchmarks, whose sizes are not known."""
    from vlmscale.data.llava.estimates import print_estimates

    due = {name: [] for name in ("prepare_dataset", "fetch_backbone")}
    for job in jobs:
        due.get(job.rule.name, []).append(job.wildcards)
    datasets = {
        Path(f"{OUT}/data/{w.stage}"): getattr(STUDY.data, w.stage).dataset
        for w in due["prepare_dataset"]
    }
    shapes = {"tower": STUDY.tower_shape, **STUDY.decoders}
    weights = sum(1e9 * shapes[w.backbone].download_gb for w in due["fetch_backbone"])
    print_estimates(
        datasets,
        {Path(f"{OUT}/backbones"): weights} if weights else {},
        raw=Path(RAW),
        workers=min(8, workflow.resource_settings.cores or 8),
    )


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
        backbone=lambda w: BACKBONES[w.backbone].model_dump(
            mode="json", exclude={"image_size"}
        ),
        pickled=lambda w: w.backbone in STUDY.pickled,
        work=f"{WORK}/fetch/{{backbone}}",
    script:
        "../workflow/scripts/fetch_backbone.py"
