# Figures of a study, a folder for each law.

FAMILIES = sorted(
    {BENCHMARKS[name]["family"] for name in STUDY.evaluation.benchmarks} & set(SUITES)
)
# A study of one LLM has no law, and scores of two protocols do not meet in a figure.
SIDE_BY_SIDE = (
    ["side_by_side"] if LAWS and STUDY.evaluation.protocol == RELEASED_PROTOCOL else []
)
FIGURES = expand(
    f"{OUT}/figures/{{series}}_{{family}}/{{name}}.{{suffix}}",
    series=LAWS,
    family=FAMILIES,
    name=LAW_FIGURES,
    suffix=["pdf", "png"],
) + expand(
    f"{OUT}/figures/{{name}}.{{suffix}}",
    name=["paired", "cost", *SIDE_BY_SIDE, *(["latency"] if STUDY.latency else [])],
    suffix=["pdf", "png"],
)


rule paired_figure:
    input:
        f"{OUT}/paired.parquet",
    output:
        pdf=f"{OUT}/figures/paired.pdf",
        png=report(
            f"{OUT}/figures/paired.png",
            caption="../workflow/report/paired.rst",
            category="Figures",
            labels={"law": "", "family": "all", "figure": "paired"},
        ),
    log:
        f"{OUT}/logs/figures/paired.log",
    benchmark:
        f"{OUT}/benchmarks/figures/paired.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        title=STUDY.study,
        code=hash_code("paired_figure.py", packages=FIGURE_STACK),
    script:
        "../workflow/scripts/paired_figure.py"


rule side_by_side_figure:
    input:
        laws=f"{OUT}/laws.parquet",
        intervals=f"{OUT}/intervals.parquet",
        released_laws=f"{PUBLISHED}/laws.parquet",
        released_intervals=f"{PUBLISHED}/intervals.parquet",
    output:
        pdf=f"{OUT}/figures/side_by_side.pdf",
        png=report(
            f"{OUT}/figures/side_by_side.png",
            caption="../workflow/report/side_by_side.rst",
            category="Figures",
            labels={"law": "", "family": "all", "figure": "side_by_side"},
        ),
    log:
        f"{OUT}/logs/figures/side_by_side.log",
    benchmark:
        f"{OUT}/benchmarks/figures/side_by_side.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        title=STUDY.study,
        code=hash_code("side_by_side_figure.py", packages=FIGURE_STACK),
    script:
        "../workflow/scripts/side_by_side_figure.py"


rule cost_figure:
    input:
        f"{OUT}/cost.parquet",
    output:
        pdf=f"{OUT}/figures/cost.pdf",
        png=report(
            f"{OUT}/figures/cost.png",
            caption="../workflow/report/cost.rst",
            category="Figures",
            labels={"law": "", "family": "all", "figure": "cost"},
        ),
    log:
        f"{OUT}/logs/figures/cost.log",
    benchmark:
        f"{OUT}/benchmarks/figures/cost.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        title=STUDY.study,
        code=hash_code("cost_figure.py", packages=FIGURE_STACK),
    script:
        "../workflow/scripts/cost_figure.py"


rule latency_figure:
    input:
        errors=f"{OUT}/errors.parquet",
        latency=f"{OUT}/latency.parquet",
    output:
        pdf=f"{OUT}/figures/latency.pdf",
        png=report(
            f"{OUT}/figures/latency.png",
            caption="../workflow/report/latency.rst",
            category="Figures",
            labels={"law": "", "family": "all", "figure": "latency"},
        ),
    log:
        f"{OUT}/logs/figures/latency.log",
    benchmark:
        f"{OUT}/benchmarks/figures/latency.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        budget=min((cell.budget for cell in CELLS.values()), key=lambda b: b != FULL),
        text_tokens=max(STUDY.laws.text_tokens),
        title=STUDY.study,
        code=hash_code("latency_figure.py", packages=FIGURE_STACK),
    script:
        "../workflow/scripts/latency_figure.py"


rule figures:
    input:
        **{
            name: f"{OUT}/{name}.parquet"
            for name in ("errors", "laws", "draws", "profile")
        },
    output:
        figure_files(
            f"{OUT}/figures/{{series}}_{{family}}",
            "Figures",
            {"law": "{series}", "family": "{family}"},
        ),
    log:
        f"{OUT}/logs/figures/{{series}}_{{family}}.log",
    benchmark:
        f"{OUT}/benchmarks/figures/{{series}}_{{family}}.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        series=lambda w: w.series,
        selection=lambda w: asdict(LAWS[w.series]),
        text_tokens=list(STUDY.laws.text_tokens),
        predicted={},
        printed=None,
        title=lambda w: f"{STUDY.study}: {w.family}, {w.series}",
        code=hash_code("figures.py", packages=FIGURE_STACK),
    script:
        "../workflow/scripts/figures.py"
