from pathlib import Path

import pandas as pd

from vlmscale.evaluation.run import Setting, evaluate
from vlmscale.jobs import logged

with logged(snakemake.log[0]):
    params, features = snakemake.params, snakemake.input.get("features")
    table = pd.read_csv(snakemake.input.benchmarks).set_index("benchmark", drop=False)
    evaluate(
        Path(snakemake.input.model),
        Path(snakemake.input.data),
        Path(features) if features else None,
        table.loc[params.benchmarks].reset_index(drop=True),
        batch_size=params.batch_size,
        samples=Path(snakemake.output.samples),
        scores=Path(snakemake.output.scores),
        cell=params.cell,
        trained=Setting(**params.trained),
        evaluated=Setting(**params.evaluated),
        fingerprint=params.fingerprint,
    )
