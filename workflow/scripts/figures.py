from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import selected
from vlmscale.analysis.fits import family_means, law_of
from vlmscale.figures.catalogue import DRAW
from vlmscale.figures.data import gather
from vlmscale.figures.style import save
from vlmscale.jobs import logged
from vlmscale.series import Selection

with logged(snakemake.log[0]):
    params, family = snakemake.params, snakemake.wildcards.family
    errors = family_means(pd.read_parquet(snakemake.input.errors))
    errors = selected(errors, Selection(**params.selection))
    laws, draws, profile = (
        table[(table["series"] == params.series) & (table["family"] == family)]
        for table in (
            pd.read_parquet(snakemake.input[name]) for name in ("laws", "draws", "profile")
        )
    )
    data = gather(
        errors[errors["family"] == family],
        law_of(laws.iloc[0].to_dict()),
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
