from pathlib import Path

import pandas as pd

from vlmscale.analysis.spent import cost_table
from vlmscale.config import validate
from vlmscale.jobs import logged
from vlmscale.plan import planned_trainings
from vlmscale.tables import write_parquet

with logged(snakemake.log[0]):
    study = validate(snakemake.params.study, "the study of this rule")
    trainings = pd.read_parquet(snakemake.input[0])
    table = cost_table(trainings, pd.DataFrame(planned_trainings(study)))
    write_parquet(Path(snakemake.output[0]), table, {"study": study.study})
