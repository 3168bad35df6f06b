from pathlib import Path

from vlmscale.data.llava.prepare import prepare_dataset
from vlmscale.data.photographs.prepare import CAPTIONS, QUESTIONS, prepare_photographs
from vlmscale.jobs.entry import log_to

with log_to(snakemake.log[0]):
    dataset = snakemake.params.dataset
    places = {"raw": Path(snakemake.params.raw), "output": Path(snakemake.output[0])}
    if dataset in (CAPTIONS, QUESTIONS):
        prepare_photographs(dataset, **places)
    else:
        prepare_dataset(dataset, **places, workers=snakemake.threads)
