# The paper's released scores through the same fit and tables. Needs no torch and no training.
PUBLISHED_SERIES = {"published": Selection(("tokenpacker",))}
READINGS = {
    row["name"]: tuple(map(float, row["value"].split()))
    for row in read_rows("published/readings.csv")
}


rule published:
    input:
        expand(
            f"{PUBLISHED}/{{name}}.parquet", name=[*LAW_TABLES, "table1", "one_token"]
        ),
        expand(
            f"{PUBLISHED}/tables/{{name}}.{{suffix}}",
            name=[*TABLES, "table1", "one_token"],
            suffix=["md", "tex"],
        ),
        expand(
            f"{PUBLISHED}/figures/{{family}}/{{name}}.{{suffix}}",
            family=["reasoning", "ocr"],
            name=LAW_FIGURES,
            suffix=["pdf", "png"],
        ),
        expand(
            f"{PUBLISHED}/figures/{{name}}.{{suffix}}",
            name=["fig4", "one_token"],
            suffix=["pdf", "png"],
        ),
        f"{PUBLISHED}/audit.parquet",
        f"{PUBLISHED}/audit.md",
        f"{PUBLISHED}/explorer.html",
        lambda w: expand(f"{PUBLISHED}/report/{{name}}.html", name=PUBLISHED_PAGES),


rule published_errors:
    input:
        reasoning=table("published/reasoning_scores.csv"),
        ocr=table("published/ocr_scores.csv"),
        architectures=table("backbones"),
    output:
        f"{PUBLISHED}/errors.parquet",
    log:
        f"{PUBLISHED}/logs/errors.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/errors.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        code=hash_code("published_errors.py"),
    script:
        "../workflow/scripts/published_errors.py"


# `use rule` does not copy `localrule`.
localrules:
    published_fit,
    published_tables,
    published_audit,
    published_one_token,


use rule fit as published_fit with:
    input:
        errors=f"{PUBLISHED}/errors.parquet",
    output:
        **{name: f"{PUBLISHED}/{name}.parquet" for name in LAW_TABLES},
    log:
        f"{PUBLISHED}/logs/fit.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/fit.tsv"
    params:
        series=selections(PUBLISHED_SERIES),
        text_tokens=[0, 50],
        draws=2000,
        seed=0,
        code=hash_code("fit.py"),


use rule tables as published_tables with:
    input:
        **{name: f"{PUBLISHED}/{name}.parquet" for name in ("intervals", *TABLES)},
    output:
        **{f"{name}_md": f"{PUBLISHED}/tables/{name}.md" for name in TABLES},
        **{f"{name}_tex": f"{PUBLISHED}/tables/{name}.tex" for name in TABLES},
    log:
        f"{PUBLISHED}/logs/tables.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/tables.tsv"


rule published_table1:
    input:
        table("published/table1.csv"),
    output:
        parquet=f"{PUBLISHED}/table1.parquet",
        md=f"{PUBLISHED}/tables/table1.md",
        tex=f"{PUBLISHED}/tables/table1.tex",
    log:
        f"{PUBLISHED}/logs/table1.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/table1.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        method="QueCC",
        code=hash_code("published_table1.py"),
    script:
        "../workflow/scripts/published_table1.py"


use rule one_token as published_one_token with:
    input:
        scores=table("published/one_token.csv"),
        architectures=table("backbones"),
    output:
        parquet=f"{PUBLISHED}/one_token.parquet",
        md=f"{PUBLISHED}/tables/one_token.md",
        tex=f"{PUBLISHED}/tables/one_token.tex",
    log:
        f"{PUBLISHED}/logs/one_token.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/one_token.tsv"
    params:
        text_tokens=50,
        code=hash_code("one_token.py"),


use rule audit as published_audit with:
    input:
        released=RELEASED,
    output:
        table=f"{PUBLISHED}/audit.parquet",
        text=f"{PUBLISHED}/audit.md",
    log:
        f"{PUBLISHED}/logs/audit.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/audit.tsv"
