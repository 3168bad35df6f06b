# Figures of a study, one for each law.

FAMILIES = sorted({BENCHMARKS[name] for name in STUDY.evaluation.benchmarks})
FIGURES = expand(
    f"{OUT}/figures/fig1_{{series}}_{{family}}.{{suffix}}",
    series=STUDY.laws.series,
    family=FAMILIES,
    suffix=["pdf", "png"],
)


rule figure1:
    input:
        errors=f"{OUT}/errors.parquet",
        laws=f"{OUT}/laws.parquet",
        intervals=f"{OUT}/intervals.parquet",
    output:
        pdf=f"{OUT}/figures/fig1_{{series}}_{{family}}.pdf",
        png=report(
            f"{OUT}/figures/fig1_{{series}}_{{family}}.png",
            caption="../workflow/report/fig1.rst",
            category="Figure 1",
            labels={"law": "{series}", "family": "{family}"},
        ),
    log:
        f"{OUT}/logs/figures/fig1_{{series}}_{{family}}.log",
    benchmark:
        f"{OUT}/benchmarks/figures/fig1_{{series}}_{{family}}.tsv"
    localrule: True
    params:
        series=lambda w: w.series,
        methods=lambda w: list(STUDY.laws.series[w.series]),
        text_tokens=list(STUDY.laws.text_tokens),
        title=lambda w: f"{STUDY.study}: {w.family}, {w.series}",
        code=code_of("figure1.py", packages=("matplotlib", "pandas", "seaborn")),
    script:
        "../workflow/scripts/figure1.py"
