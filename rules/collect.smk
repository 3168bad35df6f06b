# The laws fitted to the table of all cells, and what they say about the paper's claims.


rule write_cells:
    output:
        f"{OUT}/cells.csv",
    log:
        f"{OUT}/logs/cells.log",
    benchmark:
        f"{OUT}/benchmarks/cells.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        study=STUDY.study,
        cells=[asdict(cell) for cell in CELLS.values()],
        code=hash_code("write_cells.py"),
    script:
        "../workflow/scripts/write_cells.py"


# The released numbers that claims are checked against.
RELEASED = [
    table(name)
    for name in (
        "backbones",
        *(
            f"published/{name}.csv"
            for name in (
                "claims",
                "earlier_scores",
                "ocr_scores",
                "ocr_unsplit_scores",
                "readings",
                "reasoning_scores",
                "table1",
            )
        ),
    )
]
TABLES = ["laws", "forms", "variants"]  # of laws, also as Markdown and LaTeX
# A study of one LLM has no law.
# Released VLMs have no common baseline, and are no evidence on the paper's claims.
PAIRED = ["paired"] if IS_TRAINED else []
SUITES_TABLE = ["suites"] if LAWS and IS_TRAINED else []
STUDY_TABLES = ["methods", *PAIRED, *(TABLES if LAWS else []), *SUITES_TABLE]
LAW_TABLES = [
    "laws",
    "draws",
    "intervals",
    "profile",
    "variants",
    "forms",
    "frontier",
    "envelope",
]


rule fit:
    input:
        errors=f"{OUT}/errors.parquet",
        samples=f"{OUT}/samples.parquet",
    output:
        **{name: f"{OUT}/{name}.parquet" for name in LAW_TABLES},
    log:
        f"{OUT}/logs/fit.log",
    benchmark:
        f"{OUT}/benchmarks/fit.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        series=selections(LAWS),
        text_tokens=list(STUDY.laws.text_tokens),
        draws=STUDY.laws.bootstrap_draws,
        seed=STUDY.laws.seed,
        code=hash_code("fit.py"),
    script:
        "../workflow/scripts/fit.py"


COMPARISONS = ["paired", "suites", "corrected"]
BASELINE = STUDY.baseline if IS_TRAINED else None


rule compare:
    input:
        errors=f"{OUT}/errors.parquet",
        samples=f"{OUT}/samples.parquet",
        chance=f"{OUT}/chance.parquet",
    output:
        **{name: f"{OUT}/{name}.parquet" for name in COMPARISONS},
    log:
        f"{OUT}/logs/compare.log",
    benchmark:
        f"{OUT}/benchmarks/compare.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        series=selections(LAWS),
        baseline=BASELINE,
        draws=STUDY.laws.bootstrap_draws,
        seed=STUDY.laws.seed,
        code=hash_code("compare.py"),
    script:
        "../workflow/scripts/compare.py"


# Which questions need visual tokens; tables of laws, so none for a study of one LLM.
DIFFICULTY = ["difficulty", "fewest_tokens"] if LAWS and IS_TRAINED else []


rule difficulty:
    input:
        errors=f"{OUT}/errors.parquet",
        samples=f"{OUT}/samples.parquet",
    output:
        difficulty=f"{OUT}/difficulty.parquet",
        difficulty_md=f"{OUT}/tables/difficulty.md",
        difficulty_tex=f"{OUT}/tables/difficulty.tex",
        fewest_tokens=f"{OUT}/fewest_tokens.parquet",
        fewest_tokens_md=f"{OUT}/tables/fewest_tokens.md",
        fewest_tokens_tex=f"{OUT}/tables/fewest_tokens.tex",
    log:
        f"{OUT}/logs/difficulty.log",
    benchmark:
        f"{OUT}/benchmarks/difficulty.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        series=selections(LAWS),
        text_tokens=list(STUDY.laws.text_tokens),
        draws=STUDY.laws.bootstrap_draws,
        seed=STUDY.laws.seed,
        code=hash_code("difficulty.py"),
    script:
        "../workflow/scripts/difficulty.py"


# One law of N, V and training budget, where a law has budgets of different lengths.
SAMPLED = (
    describe_samples(STUDY, sorted({law.budget for law in LAWS.values()}))
    if IS_TRAINED
    else {}
)
BUDGETS = (
    ["budget_law", "lifetime"]
    if SAMPLED and group_budgets(LAWS, SAMPLED["by_budget"])
    else []
)


rule budget_law:
    input:
        f"{OUT}/errors.parquet",
    output:
        budget_law=f"{OUT}/budget_law.parquet",
        budget_law_md=f"{OUT}/tables/budget_law.md",
        budget_law_tex=f"{OUT}/tables/budget_law.tex",
        lifetime=f"{OUT}/lifetime.parquet",
        lifetime_md=f"{OUT}/tables/lifetime.md",
        lifetime_tex=f"{OUT}/tables/lifetime.tex",
    log:
        f"{OUT}/logs/budget_law.log",
    benchmark:
        f"{OUT}/benchmarks/budget_law.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        series=selections(LAWS),
        sampled=SAMPLED,
        text_tokens=list(STUDY.laws.text_tokens),
        draws=STUDY.laws.bootstrap_draws,
        seed=STUDY.laws.seed,
        code=hash_code("budget_law.py"),
    script:
        "../workflow/scripts/budget_law.py"


rule tables:
    input:
        **{
            name: f"{OUT}/{name}.parquet"
            for name in (
                "errors",
                "chance",
                *PAIRED,
                *(["intervals", *TABLES] if LAWS else []),
                *SUITES_TABLE,
            )
        },
    output:
        **{f"{name}_md": f"{OUT}/tables/{name}.md" for name in STUDY_TABLES},
        **{f"{name}_tex": f"{OUT}/tables/{name}.tex" for name in STUDY_TABLES},
    log:
        f"{OUT}/logs/tables.log",
    benchmark:
        f"{OUT}/benchmarks/tables.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        code=hash_code("tables.py"),
    script:
        "../workflow/scripts/tables.py"


rule audit:
    input:
        released=RELEASED,
        errors=[f"{OUT}/errors.parquet"],
        samples=f"{OUT}/samples.parquet",
    output:
        table=f"{OUT}/audit.parquet",
        text=f"{OUT}/audit.md",
    log:
        f"{OUT}/logs/audit.log",
    benchmark:
        f"{OUT}/benchmarks/audit.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        code=hash_code("audit.py"),
    script:
        "../workflow/scripts/audit.py"


VERDICTS = ["verdicts", "sanity"]
# What is made of trainings, or of comparisons with a baseline, and checks of the paper's claims.
OF_TRAININGS = [*COMPARISONS, *VERDICTS, "cost"] if IS_TRAINED else []
CHECKED = [*VERDICTS, "audit"] if IS_TRAINED else ["visual_tokens"]


rule verdicts:
    input:
        **{
            name: f"{OUT}/{name}.parquet"
            for name in (
                "errors",
                "samples",
                "chance",
                "paired",
                "trainings",
                *(["laws", "draws"] if LAWS else []),
            )
        },
    output:
        **{name: f"{OUT}/{name}.parquet" for name in VERDICTS},
        **{f"{name}_md": f"{OUT}/tables/{name}.md" for name in VERDICTS},
        **{f"{name}_tex": f"{OUT}/tables/{name}.tex" for name in VERDICTS},
    log:
        f"{OUT}/logs/verdicts.log",
    benchmark:
        f"{OUT}/benchmarks/verdicts.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        series=selections(LAWS),
        baseline=BASELINE,
        draws=STUDY.laws.bootstrap_draws,
        seed=STUDY.laws.seed,
        code=hash_code("verdicts.py"),
    script:
        "../workflow/scripts/verdicts.py"


rule cost:
    input:
        f"{OUT}/trainings.parquet",
    output:
        f"{OUT}/cost.parquet",
    log:
        f"{OUT}/logs/cost.log",
    benchmark:
        f"{OUT}/benchmarks/cost.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        study=STUDY.model_dump(mode="json", exclude=WITHOUT_EFFECT_ON_RESULTS),
        code=hash_code("cost.py"),
    script:
        "../workflow/scripts/cost.py"


# Methods with few visual tokens by what they cost, each way to answer; needs cells of at most FEW_TOKENS.
ONE_TOKEN = (
    ["one_token"]
    if IS_TRAINED and any(cell.visual_tokens <= FEW_TOKENS for cell in CELLS.values())
    else []
)


rule one_token:
    input:
        errors=f"{OUT}/errors.parquet",
    output:
        parquet=f"{OUT}/one_token.parquet",
        md=f"{OUT}/tables/one_token.md",
        tex=f"{OUT}/tables/one_token.tex",
    log:
        f"{OUT}/logs/one_token.log",
    benchmark:
        f"{OUT}/benchmarks/one_token.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        decoders={name: asdict(shape) for name, shape in STUDY.decoders.items()},
        tower=TOWER,
        methods=SPECS.method_settings() if IS_TRAINED else {},
        text_tokens=max(STUDY.laws.text_tokens),
        code=hash_code("one_token.py"),
    script:
        "../workflow/scripts/one_token.py"


# A study in kilobytes: src/vlmscale/resources/reference/ keeps those of the default one.
REFERENCE = ["scores", "laws", "intervals", "verdicts", "cost"]


rule reference:
    input:
        **{
            name: f"{OUT}/{name}.parquet"
            for name in ("errors", "laws", "intervals", "verdicts", "cost")
        },
    output:
        **{name: f"{OUT}/reference/{name}.csv" for name in REFERENCE},
    log:
        f"{OUT}/logs/reference.log",
    benchmark:
        f"{OUT}/benchmarks/reference.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        code=hash_code("reference.py"),
    script:
        "../workflow/scripts/reference.py"
