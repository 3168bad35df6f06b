"""What the jobs of a study ask a cluster for, training by training. Needs no torch."""

from typing import Literal

from vlmscale import cluster
from vlmscale.architectures import Decoder, Tower
from vlmscale.cells import Run
from vlmscale.cluster import Request
from vlmscale.config import Data, Study
from vlmscale.settings import Transformer

Stage = Literal["stage1", "stage2"]


def stage_request(study: Study, stage: Stage, run: Run) -> Request:
    """The request of a stage of a run. Raises UserError where no number of GPUs divides its batch."""
    return cluster.training(
        study.cluster,
        _parameters(study.decoders[run.llm]),
        study.stage1 if stage == "stage1" else study.stage2_at(run.budget),
        study.data.stage1 if stage == "stage1" else study.data.stage2,
        visual_tokens=run.visual_tokens,
        frozen=stage == "stage1",
    )


def inference_request(study: Study, shape: Decoder | Tower) -> Request:
    """The request of a forward pass over all samples."""
    return cluster.inference(study.cluster, _parameters(shape))


def backbone_requests(study: Study) -> dict[str, Request]:
    """The request of each training of a backbone that the study makes, by the backbone's name."""
    if not isinstance(study.data, Data):
        return {}
    shapes: dict[str, Decoder | Tower] = {"tower": study.tower_shape, **study.decoders}
    found = {}
    for name, made in {"tower": study.tower, **study.llms}.items():
        assert isinstance(made, Transformer)  # or it would be released, as the data would be
        found[name] = cluster.backbone(
            study.cluster,
            _parameters(shapes[name]),
            made.recipe,
            study.data.tower if name == "tower" else study.data.corpus,
            visual_tokens=study.grid_side**2 if name == "tower" else 0,
        )
    return found


def _parameters(shape: Decoder | Tower) -> float:
    """Of a model's blocks; the vocabulary of an LLM that the study makes is not known yet."""
    return 1e9 * (shape.total_b if isinstance(shape, Tower) else shape.non_embedding_b)
