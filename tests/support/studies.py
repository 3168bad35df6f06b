"""The studies of config/, with changes."""

from tests.support.paths import ROOT
from vlmscale.study.load import load_study
from vlmscale.study.reader import read_config

# The configs of studies that train.
TRAINED = [
    path for path in sorted((ROOT / "config").glob("*.yaml")) if "models" not in read_config(path)
]


def change_study(name, *, cluster=(), **execution):
    """Load a study of config/ and change keys of `cluster` and, by stage, of `execution`."""
    study = load_study(ROOT / f"config/{name}.yaml")
    changed = {"cluster": study.cluster.model_copy(update=dict(cluster))}
    for stage, keys in execution.items():
        recipe = getattr(study, stage)
        chosen = recipe.execution.model_copy(update=keys)
        changed[stage] = recipe.model_copy(update={"execution": chosen})
    return study.model_copy(update=changed)
