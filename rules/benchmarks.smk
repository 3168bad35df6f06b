# Released benchmarks, fetched to the place where a generated study makes its questions. Runs where snakemake does,
# since compute nodes often have no network.


RAW = "work/downloads"  # shared by all studies


def files_of(name):
    """Return the columns of a benchmark that decide what is fetched; others may change."""
    columns = ("dataset", "config", "images", "split", "revision")
    return {column: BENCHMARKS[name][column] for column in columns}


# `raw` is where the archive of photographs is. As a param of other studies it would fetch their benchmarks anew.
rule fetch_benchmarks:
    input:
        table=ancient(table("benchmarks.csv")),
    output:
        directory(f"{OUT}/data/test"),
    log:
        f"{OUT}/logs/data/test.log",
    benchmark:
        f"{OUT}/benchmarks/data/test.tsv"
    localrule: True
    conda:
        "../envs/vlmscale.yaml"
    params:
        **(
            {"raw": RAW}
            if any(name.startswith("photo_") for name in STUDY.evaluation.benchmarks)
            else {}
        ),
        benchmarks={name: files_of(name) for name in STUDY.evaluation.benchmarks},
        work=f"{WORK}/benchmarks",
    script:
        "../workflow/scripts/fetch_benchmarks.py"
