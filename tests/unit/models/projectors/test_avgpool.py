"""Average pooling reads a region."""

from tests.support.projectors import make_features, make_projector
from vlmscale.models.features import VisionFeatures


def test_avgpool_reads_its_region_only():
    projector, f = make_projector("avgpool", 4), make_features(b=1)
    patches = f.patches.clone().requires_grad_()
    out = projector(VisionFeatures(patches, 6))
    out[0, 3].sum().backward()  # bottom right
    touched = patches.grad[0].abs().sum(-1).reshape(6, 6) > 0
    assert touched[3:, 3:].all()
    assert touched.sum() == 9
