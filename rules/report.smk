# Tables as pages of the report.


report: "../workflow/report/workflow.rst"


STUDY_PAGES = [*STUDY_TABLES, *VERDICTS, "audit"]
PUBLISHED_PAGES = [*TABLES, "table1", "audit"]


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
