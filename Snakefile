# One DAG from data to figures, for every study: `snakemake` runs config/mini.yaml,
# `snakemake --configfile config/smoke.yaml` another. See README.md for the targets.
from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"


for name in STUDY.rule_files:

    include: f"rules/{name}.smk"


include: "rules/collect.smk"
include: "rules/published.smk"
include: "rules/report_contents.smk"
include: "rules/report.smk"
include: "rules/figures.smk"
include: "rules/hooks.smk"


wildcard_constraints:
    sample=one_of(SAMPLES),
    llm=one_of(STUDY.decoders),
    # No list of all ids: snakemake parses a constraint again for every file of every job.
    run="[^/]+",
    cell="[^/]+",
    series=one_of(LAWS),
    family=one_of(sorted({*FAMILIES, "reasoning", "ocr"})),


# Intermediate targets.


rule data:
    input:
        expand(f"{OUT}/data/{{sample}}", sample=SAMPLES),


rule backbones:
    input:
        f"{OUT}/backbones/tower",
        expand(f"{OUT}/backbones/{{llm}}", llm=STUDY.decoders),


rule stage1:
    input:
        stage1_files,


rule stage2:
    input:
        stage2_files,


rule evaluate:
    input:
        evaluation_files,


rule all:
    default_target: True
    input:
        f"{OUT}/cells.csv",
        f"{OUT}/errors.parquet",
        expand(
            f"{OUT}/{{name}}.parquet",
            name=[
                *(LAW_TABLES if LAWS else []),
                *OF_TRAININGS,
                *DIFFICULTY,
                *BUDGETS,
                *(["latency"] if STUDY.latency else []),
            ],
        ),
        expand(
            f"{OUT}/tables/{{name}}.{{suffix}}",
            name=[
                *STUDY_TABLES,
                *(name for name in CHECKED if name != "audit"),
                *DIFFICULTY,
                *BUDGETS,
            ],
            suffix=["md", "tex"],
        ),
        expand(
            f"{OUT}/audit.{{suffix}}", suffix=["md", "parquet"] if IS_TRAINED else []
        ),
        expand(f"{OUT}/report/{{name}}.html", name=STUDY_PAGES),
        FIGURES,
        PAGES,
        # By name: snakemake does not remake a missing intermediate file when its products exist.
        stage1_files,
        stage2_files,
        evaluation_files,
