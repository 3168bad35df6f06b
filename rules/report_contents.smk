# What `snakemake --report` shows, in the order of the paper.


# Category -> {name of a figure, or of a table with "table/" before it: its title}. Each name has its caption in
# workflow/report/.
REPORT = {
    "1. The law: Figures 1, 2 and 6": {
        "fig1": "Figure 1: error against cost",
        "fig2": "Figures 2 and 6: predicted LLMs",
        "tables/laws": "Fitted laws",
        "side_by_side": "Laws beside those of the paper",
        "exponents": "Uncertainty of the exponents",
        "residuals": "Where the law misses",
        "profile": "Fits at fixed D",
        "tables/forms": "Other forms of the law",
        "tables/variants": "Other choices in the fit",
        "tables/suites": "The law without each benchmark",
        "tables/difficulty": "The law of hard questions",
        "tables/fewest_tokens": "Fewest tokens a question needs",
        "difficulty": "Hard questions, drawn",
        "tables/budget_law": "The law with a training budget",
        "tables/lifetime": "The LLM of the least lifetime cost",
        "budget_law": "Training budgets, drawn",
    },
    "2. Length of the text: Figure 3": {
        "fig3a": "Figure 3a: length of the text",
        "fig3b": "Figure 3b: cached text",
        "optimum": "Best number of visual tokens",
    },
    "3. Equal cost: Figure 4": {
        "fig4": "Figure 4: about equal cost",
        "latency": "Error against measured latency",
    },
    "4. Methods: Table 1": {
        "tables/table1": "Table 1: methods",
        "tables/methods": "Scores",
        "tables/paired": "Differences from the baseline",
        "paired": "Differences from the baseline, drawn",
        "tables/one_token": "Where one token stands",
        "one_token": "Where one token stands, drawn",
    },
    "5. Claims and verdicts": {
        "tables/audit": "Audit of the paper's claims",
        "tables/verdicts": "Hypotheses written down before",
        "tables/sanity": "Did the models learn?",
        "tables/visual_tokens": "Visual tokens: asked and counted",
        "learning": "Scores by training budget",
    },
    "6. What the study cost": {
        "cost": "Time of each training",
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
