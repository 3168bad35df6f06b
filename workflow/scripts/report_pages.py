from pathlib import Path

from vlmscale.jobs.entry import log_to
from vlmscale.records.files import atomic_path
from vlmscale.records.texts import read_markdown
from vlmscale.report.pages import render_page

with log_to(snakemake.log[0]):
    pages = map(Path, snakemake.output)
    for file, page, title in zip(snakemake.input, pages, snakemake.params.titles, strict=True):
        with atomic_path(page) as scratch:
            scratch.write_text(render_page(read_markdown(Path(file)), title), encoding="utf-8")
