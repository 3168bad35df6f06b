"""Images that do not decode are named."""

import pytest

from vlmscale.data.images import decode_image
from vlmscale.errors import UserError


def test_an_image_that_does_not_decode_is_named():
    with pytest.raises(UserError, match="sample s9: the image does not decode"):
        decode_image(b"\x89PNG not really", "data/stage2, sample s9")
