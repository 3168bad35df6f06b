# Every figure of the study and of the released scores: one script, and one rule for each row of FIGURE_JOBS.
from typing import NamedTuple

FAMILIES = sorted(
    {BENCHMARKS[name]["family"] for name in STUDY.evaluation.benchmarks} & set(SUITES)
)


class FigureJob(NamedTuple):
    """The figures that one job draws from the same tables."""

    out: str  # the folder of results with the tables
    place: str  # below figures/: a figure's name, or the folder of several
    figures: tuple[str, ...]
    options: object  # of draw_figure: a dict, or a function of wildcards
    labels: dict[str, str]  # of the report: law and family

    def path(self, figure, suffix):
        folder = "" if self.figures == (self.place,) else f"{self.place}/"
        return f"{self.out}/figures/{folder}{figure}.{suffix}"

    def tables(self):
        """Return the file of each table that the figures are drawn from."""
        return {
            name: (
                f"{PUBLISHED}/{name.removeprefix('released_')}.parquet"
                if name.startswith("released_")
                else f"{self.out}/{name}.parquet"
            )
            for name in FIGURE_TABLES[self.figures[0]]
        }

    def bitmap(self, figure):
        """Return the PNG of a figure, marked for the report."""
        study = "released scores" if self.out == PUBLISHED else STUDY.study
        return in_report(self.path(figure, "png"), figure, study, **self.labels)


def study_figure(name, **options):
    """Return the job of a figure about the whole study."""
    return FigureJob(
        OUT,
        name,
        (name,),
        {"title": STUDY.study, **options},
        {"family": "all"},
    )


FIGURE_JOBS = {
    "paired_figure": study_figure("paired"),
    "side_by_side_figure": study_figure("side_by_side"),
    "difficulty_figure": study_figure("difficulty"),
    "budget_law_figure": study_figure("budget_law"),
    "cost_figure": study_figure("cost"),
    "learning_figure": study_figure("learning"),
    "latency_figure": study_figure(
        "latency",
        budget=min((cell.budget for cell in CELLS.values()), key=lambda b: b != FULL),
        text_tokens=max(STUDY.laws.text_tokens),
    ),
    "one_token_figure": study_figure("one_token"),
    "published_one_token_figure": FigureJob(
        PUBLISHED,
        "one_token",
        ("one_token",),
        {
            "title": "published scores",
            "benchmarks": ["GQA", "VQAv2", "MMB", "TextVQA", "reasoning mean"],
        },
        {"family": "all"},
    ),
    "figures": FigureJob(
        OUT,
        "{series}_{family}",
        LAW_FIGURES,
        lambda w: {
            "series": w.series,
            "family": w.family,
            "selection": asdict(LAWS[w.series]),
            "text_tokens": list(STUDY.laws.text_tokens),
            "title": f"{STUDY.study}: {name_family(w.family)}, {w.series}",
        },
        {"law": "{series}", "family": "{family}"},
    ),
    "published_figures": FigureJob(
        PUBLISHED,
        "{family}",
        LAW_FIGURES,
        lambda w: {
            "series": "published",
            "family": w.family,
            "selection": asdict(PUBLISHED_SERIES["published"]),
            "text_tokens": [0, 50],
            "predicted": {"Qwen1.5-14B": 14.0},
            "printed": {
                exponent: READINGS[f"{w.family}_{exponent}_printed"][0]
                for exponent in ("alpha", "beta")
            },
            "title": f"the paper's released scores: {name_family(w.family)}",
        },
        {"family": "{family}"},
    ),
    "published_fig4": FigureJob(
        PUBLISHED,
        "fig4",
        ("fig4",),
        {
            "selection": asdict(PUBLISHED_SERIES["published"]),
            "title": "released scores at about equal compute, text cached",
            "configurations": [
                ("Qwen1.5-1.8B", 144),
                ("Qwen1.5-4B", 64),
                ("Qwen1.5-7B", 36),
            ],
            "reference": ("Qwen1.5-0.5B", 576),
        },
        {"family": "both"},
    ),
}
# Learning curves need several training budgets.
LEARNING = ["learning"] if len({cell.budget for cell in CELLS.values()}) > 1 else []
# A study of one LLM has no law, and scores of different protocols cannot be compared.
SIDE_BY_SIDE = (
    ["side_by_side"]
    if LAWS and IS_TRAINED and STUDY.evaluation.protocol == RELEASED_PROTOCOL
    else []
)
FIGURES = expand(
    f"{OUT}/figures/{{series}}_{{family}}/{{name}}.{{suffix}}",
    series=LAWS,
    family=FAMILIES,
    name=LAW_FIGURES,
    suffix=["pdf", "png"],
) + expand(
    f"{OUT}/figures/{{name}}.{{suffix}}",
    name=[
        *(["paired", "cost"] if IS_TRAINED else []),
        *(["difficulty"] if DIFFICULTY else []),
        *ONE_TOKEN,
        *(["budget_law"] if BUDGETS else []),
        *SIDE_BY_SIDE,
        *LEARNING,
        *(["latency"] if STUDY.latency else []),
    ],
    suffix=["pdf", "png"],
)


for name, job in FIGURE_JOBS.items():

    rule:
        name:
            name
        input:
            **job.tables(),
        output:
            pdf=[job.path(figure, "pdf") for figure in job.figures],
            png=[job.bitmap(figure) for figure in job.figures],
        log:
            f"{job.out}/logs/figures/{job.place}.log",
        benchmark:
            f"{job.out}/benchmarks/figures/{job.place}.tsv"
        localrule: True
        conda:
            "../envs/vlmscale.yaml"
        params:
            options=job.options,
            code=hash_code("figures.py", packages=FIGURE_STACK),
        script:
            "../workflow/scripts/figures.py"
