# The vision tower's features of every image, where a study stores them.


rule encode_images:
    input:
        data=f"{OUT}/data/{{sample}}",
        tower=f"{OUT}/backbones/tower",
    output:
        directory(f"{OUT}/vision/{{sample}}"),
    log:
        f"{OUT}/logs/vision/{{sample}}.log",
    benchmark:
        f"{OUT}/benchmarks/vision/{{sample}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    resources:
        **resources_of(
            {
                sample: needs.request_encoding(STUDY, split, QUESTIONS)
                for sample, (split, _) in SAMPLES.items()
            },
            lambda w: w.sample,
        ),
    params:
        **SPECS.tower_settings(),
        **SPECS.encoding_precision(),
        work=f"{WORK}/vision/{{sample}}",
        code=hash_code(
            "encode_images.py", "vlmscale.training.features", packages=TRAINING_STACK
        ),
    script:
        "../workflow/scripts/encode_images.py"
