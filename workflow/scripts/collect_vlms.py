from pathlib import Path

import pandas as pd

from vlmscale.analysis.collect import read_answers
from vlmscale.analysis.collect_vlms import collect_vlms, describe_departures
from vlmscale.jobs.entry import log_to
from vlmscale.records.files import read_json
from vlmscale.records.parquet import write_parquet
from vlmscale.report.format import write_table
from vlmscale.report.visual_tokens import format_visual_tokens

with log_to(snakemake.log[0]):
    files, params, output = snakemake.input, snakemake.params, snakemake.output
    pairs = zip(map(Path, files.scores), map(Path, files.samples), strict=True)
    answers = [read_answers(scores, samples) for scores, samples in pairs]
    cells, prints = pd.DataFrame(params.cells), params.fingerprints
    tables = collect_vlms(cells, answers, fingerprints=prints, sizes=params.sizes)
    print(*describe_departures(tables["visual_tokens"]), sep="\n")
    models = {Path(file).stem: read_json(Path(file)) for file in files.records}
    provenance = {"study": params.study, "models": models, "fingerprints": prints}
    for name, table in tables.items():
        write_parquet(Path(output[name]), table, provenance)
    text = format_visual_tokens(tables["visual_tokens"])
    write_table(text, Path(output.visual_tokens_md), Path(output.visual_tokens_tex))
