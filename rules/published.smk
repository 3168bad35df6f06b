# The paper's released numbers through the same fit and the same figure. Needs no torch and no training.
PUBLISHED = "results/published"


rule published:
    input:
        f"{PUBLISHED}/laws.parquet",
        f"{PUBLISHED}/intervals.parquet",
        f"{PUBLISHED}/forms.parquet",
        f"{PUBLISHED}/frontier.parquet",
        expand(
            f"{PUBLISHED}/figures/fig1_{{family}}.{{suffix}}",
            family=["reasoning", "ocr"],
            suffix=["pdf", "png"],
        ),


rule published_errors:
    input:
        reasoning="resources/published/reasoning_scores.csv",
        ocr="resources/published/ocr_scores.csv",
    output:
        errors=f"{PUBLISHED}/errors.parquet",
    log:
        f"{PUBLISHED}/logs/errors.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/errors.tsv"
    localrule: True
    params:
        code=code_of("published_errors.py"),
    script:
        "../workflow/scripts/published_errors.py"


use rule fit as published_fit with:
    input:
        errors=f"{PUBLISHED}/errors.parquet",
    output:
        laws=f"{PUBLISHED}/laws.parquet",
        intervals=f"{PUBLISHED}/intervals.parquet",
        forms=f"{PUBLISHED}/forms.parquet",
        frontier=f"{PUBLISHED}/frontier.parquet",
    log:
        f"{PUBLISHED}/logs/fit.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/fit.tsv"
    params:
        series={"published": ["tokenpacker"]},
        text_tokens=[0, 50],
        draws=2000,
        seed=0,
        code=code_of("fit.py"),


use rule figure1 as published_figure1 with:
    input:
        errors=f"{PUBLISHED}/errors.parquet",
        laws=f"{PUBLISHED}/laws.parquet",
        intervals=f"{PUBLISHED}/intervals.parquet",
    output:
        pdf=f"{PUBLISHED}/figures/fig1_{{family}}.pdf",
        png=report(
            f"{PUBLISHED}/figures/fig1_{{family}}.png",
            caption="../workflow/report/fig1.rst",
            category="Published numbers",
            labels={"family": "{family}"},
        ),
    log:
        f"{PUBLISHED}/logs/figures/fig1_{{family}}.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/figures/fig1_{{family}}.tsv"
    params:
        series="published",
        methods=["tokenpacker"],
        text_tokens=[0, 50],
        title=lambda w: f"published scores: {w.family}",
        code=code_of("figure1.py", packages=("matplotlib", "pandas", "seaborn")),
