"""A folder for snakemake's cache where HOME has no room for one: it would end in a traceback."""

import os
import sys
import tempfile
from pathlib import Path

_ROOM = 65_536  # bytes; a cached source file takes a few thousand


def provide_cache() -> None:
    """Set XDG_CACHE_HOME to a temporary folder, and say so, if the present one cannot be written."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(given) if given else Path.home() / ".cache"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        # One for each user: what lies in it is run.
        cache = Path(tempfile.gettempdir(), f"vlmscale-cache-{os.getuid()}")
        cache.mkdir(mode=0o700, exist_ok=True)
        if cache.stat().st_uid != os.getuid():
            return
        os.environ["XDG_CACHE_HOME"] = str(cache)
        print(f"Snakemake caches in {cache}: {error}.", file=sys.stderr)
