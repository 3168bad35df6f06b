# What `snakemake --report` shows, in the order of the paper.


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
