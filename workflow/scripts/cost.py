from pathlib import Path

import pandas as pd

from vlmscale.jobs.entry import log_to
from vlmscale.planning.measured import cost_table
from vlmscale.planning.trainings import list_trainings
from vlmscale.records.parquet import read_parquet, write_parquet
from vlmscale.study.load import validate

with log_to(snakemake.log[0]):
    study = validate(snakemake.params.study, "the study of this rule")
    trainings = read_parquet(snakemake.input[0])
    table = cost_table(trainings, pd.DataFrame(list_trainings(study)))
    write_parquet(Path(snakemake.output[0]), table, {"study": study.study})
