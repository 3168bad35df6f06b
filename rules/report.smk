# Tables as pages of the report, and the pages to look at: explorer and gallery.
from vlmscale.costs.shapes import load_shapes


report: "../workflow/report/workflow.rst"


STUDY_PAGES = [*STUDY_TABLES, *DIFFICULTY, *BUDGETS, *ONE_TOKEN, *CHECKED]
PUBLISHED_PAGES = [*TABLES, "table1", "one_token", "audit"]


# Pages to look at; without a law there is none to explore.
PAGES = [
    f"{OUT}/gallery.html",
    *([f"{OUT}/explorer.html"] if LAWS else []),
    *expand(f"{OUT}/runs/{{run}}/stage2/README.md", run=RUNS),
]


# A study that makes its own tokenizer has shapes without a vocabulary, which cost nothing exactly.
KNOWN_SHAPES = {
    name: asdict(shape) for name, shape in STUDY.decoders.items() if shape.vocabulary
}


rule report_pages:
    input:
        [
            f"{OUT}/audit.md" if name == "audit" else f"{OUT}/tables/{name}.md"
            for name in STUDY_PAGES
        ],
    output:
        [
            in_report(f"{OUT}/report/{name}.html", f"tables/{name}", STUDY.study)
            for name in STUDY_PAGES
        ],
    log:
        f"{OUT}/logs/report_pages.log",
    benchmark:
        f"{OUT}/benchmarks/report_pages.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        titles=STUDY_PAGES,
        code=hash_code("report_pages.py", packages=("markdown-it-py",)),
    script:
        "../workflow/scripts/report_pages.py"


localrules:
    published_pages,


use rule report_pages as published_pages with:
    input:
        [
            (
                f"{PUBLISHED}/audit.md"
                if name == "audit"
                else f"{PUBLISHED}/tables/{name}.md"
            )
            for name in PUBLISHED_PAGES
        ],
    output:
        [
            in_report(
                f"{PUBLISHED}/report/{name}.html", f"tables/{name}", "released scores"
            )
            for name in PUBLISHED_PAGES
        ],
    log:
        f"{PUBLISHED}/logs/report_pages.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/report_pages.tsv"
    params:
        titles=PUBLISHED_PAGES,
        code=hash_code("report_pages.py", packages=("markdown-it-py",)),


rule model_cards:
    input:
        stage2_files,
        errors=f"{OUT}/errors.parquet",
        data=lambda w: expand(
            f"{OUT}/data/{{sample}}",
            sample=[name for name in SAMPLES if name.startswith("stage")],
        ),
        backbones=expand(
            f"{OUT}/backbones/{{name}}.json", name=[*STUDY.decoders, "tower"]
        ),
    output:
        expand(f"{OUT}/runs/{{run}}/stage2/README.md", run=RUNS),
    log:
        f"{OUT}/logs/model_cards.log",
    benchmark:
        f"{OUT}/benchmarks/model_cards.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        study=STUDY.study,
        results=lambda w: OUT,
        shapes=KNOWN_SHAPES,
        tower=TOWER,
        code=hash_code("model_cards.py"),
    script:
        "../workflow/scripts/model_cards.py"


# The study's page of questions and answers. Images of downloaded benchmarks are files beside it.
RELEASED_BENCHMARKS = any(
    BENCHMARKS[name]["dataset"] for name in STUDY.evaluation.benchmarks
)


rule gallery:
    input:
        errors=f"{OUT}/errors.parquet",
        samples=lambda w: expand(f"{OUT}/cells/{{cell}}/samples.parquet", cell=CELLS),
        data=f"{OUT}/data/test",
    output:
        **(
            {"images": directory(f"{OUT}/gallery_images")}
            if RELEASED_BENCHMARKS
            else {}
        ),
        page=f"{OUT}/gallery.html",
    log:
        f"{OUT}/logs/gallery.log",
    benchmark:
        f"{OUT}/benchmarks/gallery.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        study=STUDY.study,
        cells=list(CELLS),
        benchmarks=[BENCHMARKS[name] for name in STUDY.evaluation.benchmarks],
        most=100,  # questions of a benchmark
        code=hash_code("gallery.py"),
    script:
        "../workflow/scripts/gallery.py"


rule explorer:
    input:
        errors=f"{OUT}/errors.parquet",
        latency=f"{OUT}/latency.parquet" if STUDY.latency else [],
    output:
        f"{OUT}/explorer.html",
    log:
        f"{OUT}/logs/explorer.log",
    benchmark:
        f"{OUT}/benchmarks/explorer.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        study=STUDY.study,
        series=selections(LAWS),
        shapes=KNOWN_SHAPES,
        tower=TOWER,
        predicted={},
        code=hash_code("explorer.py"),
    script:
        "../workflow/scripts/explorer.py"


SHAPES = load_shapes()


localrules:
    published_explorer,


use rule explorer as published_explorer with:
    input:
        errors=f"{PUBLISHED}/errors.parquet",
    output:
        f"{PUBLISHED}/explorer.html",
    log:
        f"{PUBLISHED}/logs/explorer.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/explorer.tsv"
    params:
        study="released scores",
        series=selections(PUBLISHED_SERIES),
        shapes={
            name: asdict(shape)
            for name, shape in SHAPES.items()
            if name.startswith("Qwen1.5")
        },
        tower=asdict(SHAPES["CLIP-ViT-L/14-336"]),
        predicted={"Qwen1.5-14B": 14.0},
        code=hash_code("explorer.py"),
