"""The columns of splits, as `datasets` declares them."""

from datasets import Features, Image, List, Value

_TEXT, _CLASSES = Value("string"), List(Value("int8"))
_KEYED_IMAGE = {"id": _TEXT, "image": Image(), "image_key": _TEXT}
SAMPLE = Features({**_KEYED_IMAGE, "conversations": List({"from": _TEXT, "value": _TEXT})})
QUESTION = Features({**_KEYED_IMAGE, "question": _TEXT, "answer": _TEXT})  # of a benchmark
# The tower's training data: the classes of all patches, row by row.
TAGGED = Features(
    {"id": _TEXT, "image": Image(), **dict.fromkeys(("colour", "shape", "letter"), _CLASSES)}
)
