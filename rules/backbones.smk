# Tokenizer, vision tower and LLMs of a generated study, trained from scratch.

BACKBONE_REQUESTS = needs.request_backbones(STUDY)


rule train_tokenizer:
    output:
        directory(f"{OUT}/backbones/tokenizer"),
    log:
        f"{OUT}/logs/backbones/tokenizer.log",
    benchmark:
        f"{OUT}/benchmarks/backbones/tokenizer.tsv"
    conda:
        "../envs/vlmscale.yaml"
    params:
        world=STUDY.world.model_dump(mode="json"),
        template=STUDY.template,
        work=f"{WORK}/tokenizer",
        code=hash_code(
            "train_tokenizer.py",
            "vlmscale.training.backbones",
            packages=TRAINING_STACK,
        ),
    script:
        "../workflow/scripts/train_tokenizer.py"


rule train_tower:
    input:
        data=f"{OUT}/data/tower",
    output:
        model=directory(f"{OUT}/backbones/tower"),
        record=f"{OUT}/backbones/tower.json",
    log:
        f"{OUT}/logs/backbones/tower.log",
    benchmark:
        f"{OUT}/benchmarks/backbones/tower.tsv"
    conda:
        "../envs/vlmscale.yaml"
    resources:
        **resources_of(BACKBONE_REQUESTS, lambda w: "tower"),
    params:
        spec={
            "kind": "tower",
            "shape": STUDY.tower.model_dump(mode="json"),
            "image_size": STUDY.world.image_size,
            "seed": STUDY.world.seed,
        },
        code=SPECS.backbone_fingerprint(),
        work=f"{WORK}/tower/{SPECS.backbone_fingerprint()}",
        tensorboard=f"{OUT}/tensorboard/tower",
    script:
        "../workflow/scripts/train_backbone.py"


rule train_llm:
    input:
        data=f"{OUT}/data/corpus",
        tokenizer=f"{OUT}/backbones/tokenizer",
    output:
        model=directory(f"{OUT}/backbones/{{llm}}"),
        record=f"{OUT}/backbones/{{llm}}.json",
    log:
        f"{OUT}/logs/backbones/{{llm}}.log",
    benchmark:
        f"{OUT}/benchmarks/backbones/{{llm}}.tsv"
    conda:
        "../envs/vlmscale.yaml"
    resources:
        **resources_of(BACKBONE_REQUESTS, lambda w: w.llm),
    params:
        spec=lambda w: {
            "kind": "llm",
            "shape": STUDY.llms[w.llm].model_dump(mode="json"),
            "template": STUDY.template,
            "seed": STUDY.world.seed,
        },
        code=SPECS.backbone_fingerprint(),
        work=f"{WORK}/{{llm}}/{SPECS.backbone_fingerprint()}",
        tensorboard=f"{OUT}/tensorboard/{{llm}}",
    script:
        "../workflow/scripts/train_backbone.py"
