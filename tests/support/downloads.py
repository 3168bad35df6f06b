"""A source of one archive, on the server of a test."""

from vlmscale.data.llava.sources import Source


def source(server, *paths, **expected):
    values = {
        "dataset": "d",
        "holds": "x",
        "file": "raw/images.zip",
        "urls": tuple(path if "://" in path else f"{server.url}/{path}" for path in paths),
        "sha256": None,
        "bytes": None,
        "gigabytes": 0.0,
        "count": None,
        "converted_gigabytes": 0.0,
        "licence": "",
    }
    return Source(**{**values, **expected})


def left_in(folder):
    return sorted(file.name for file in (folder / "raw").iterdir() if file.suffix != ".lock")
