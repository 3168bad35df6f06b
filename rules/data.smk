# The generated world, sample by sample, as Parquet shards with a manifest.


rule generate_split:
    output:
        directory(f"{OUT}/data/{{sample}}"),
    log:
        f"{OUT}/logs/data/{{sample}}.log",
    benchmark:
        f"{OUT}/benchmarks/data/{{sample}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    params:
        world=STUDY.world.model_dump(mode="json"),
        split=lambda w: SAMPLES[w.sample][0],
        sample=lambda w: SAMPLES[w.sample][1],
        counts=lambda w: getattr(STUDY.data, SAMPLES[w.sample][0]).model_dump(
            mode="json"
        ),
        patch=STUDY.tower.patch_size,
        code=hash_code("generate_split.py", packages=("numpy", "pillow", "pyarrow")),
    script:
        "../workflow/scripts/generate_split.py"
