from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import select_cells
from vlmscale.analysis.laws.tables import read_law, select_family_means
from vlmscale.jobs.entry import logged
from vlmscale.report.figures.catalogue import DRAW
from vlmscale.report.figures.data import gather
from vlmscale.report.figures.style import save
from vlmscale.study.selection import Selection

with logged(snakemake.log[0]):
    params, family = snakemake.params, snakemake.wildcards.family
    errors = select_family_means(pd.read_parquet(snakemake.input.errors))
    errors = select_cells(errors, Selection(**params.selection))
    laws, draws, profile = (
        table[(table["series"] == params.series) & (table["family"] == family)]
        for table in (
            pd.read_parquet(snakemake.input[name]) for name in ("laws", "draws", "profile")
        )
    )
    data = gather(
        errors[errors["family"] == family],
        read_law(laws.iloc[0].to_dict()),
        draws,
        profile,
        title=params.title,
        text_tokens=params.text_tokens,
        predicted=params.predicted,
        printed=params.printed,
    )
    for file in map(Path, snakemake.output):
        if file.suffix == ".pdf":
            save(DRAW[file.stem](data), file, file.with_suffix(".png"))
