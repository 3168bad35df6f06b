# What `snakemake --report` shows of a study and of the released scores, in the order of the paper.


report: "../workflow/report/workflow.rst"


# Category -> {name of a figure, or of a table with "table/" before it: its title}. Each name has its caption in
# workflow/report/.
REPORT = {
    "1. Figures and tables of the paper": {
        "fig1": "Figure 1: error against cost",
        "fig2": "Figures 2 and 6: predicted LLMs",
        "fig3a": "Figure 3a: length of the text",
        "fig3b": "Figure 3b: cached text",
        "fig4": "Figure 4: about equal cost",
        "tables/table1": "Table 1: methods",
    },
    "2. Laws": {
        "tables/laws": "Fitted laws",
        "tables/forms": "Other forms of the law",
        "tables/variants": "Other choices in the fit",
        "tables/suites": "The law without each benchmark",
        "side_by_side": "Laws beside those of the paper",
        "exponents": "Uncertainty of the exponents",
        "optimum": "Best number of visual tokens",
        "profile": "Fits at fixed D",
        "residuals": "Residuals",
    },
    "3. Methods": {
        "tables/methods": "Scores",
        "tables/paired": "Differences from the baseline",
        "paired": "Differences from the baseline, drawn",
    },
    "4. Claims": {
        "tables/audit": "Audit of the paper's claims",
        "tables/verdicts": "Hypotheses written down before",
        "tables/sanity": "Did the models learn?",
    },
    "5. Cost": {
        "cost": "Time of each training",
        "latency": "Error against measured latency",
    },
}


def in_report(path, name, study, law="", family=""):
    """Mark a file for the report under its category, title and caption."""
    category = next(category for category, names in REPORT.items() if name in names)
    return report(
        path,
        caption=f"../workflow/report/{name}.rst",
        category=category,
        labels={
            "shows": REPORT[category][name],
            "study": study,
            "law": law,
            "family": family,
        },
    )


def pages(out, tables, study):
    """The page of each table, in the report."""
    return [
        in_report(f"{out}/report/{name}.html", f"tables/{name}", study)
        for name in tables
    ]


def markdown_of(out, tables):
    """The Markdown file of each table."""
    return [
        f"{out}/audit.md" if name == "audit" else f"{out}/tables/{name}.md"
        for name in tables
    ]


STUDY_PAGES = [*STUDY_TABLES, *VERDICTS, "audit"]
PUBLISHED_PAGES = [*TABLES, "table1", "audit"]


rule report_pages:
    input:
        markdown_of(OUT, STUDY_PAGES),
    output:
        pages(OUT, STUDY_PAGES, STUDY.study),
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
        markdown_of(PUBLISHED, PUBLISHED_PAGES),
    output:
        pages(PUBLISHED, PUBLISHED_PAGES, "released scores"),
    log:
        f"{PUBLISHED}/logs/report_pages.log",
    benchmark:
        f"{PUBLISHED}/benchmarks/report_pages.tsv"
    params:
        titles=PUBLISHED_PAGES,
        code=hash_code("report_pages.py", packages=("markdown-it-py",)),
