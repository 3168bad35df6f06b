"""A web server that speaks as much of the hub's language as its client needs to fetch repositories."""

import hashlib
import json
import re
from urllib.parse import urlsplit

from .upstream import Site


class Hub(Site):
    """A site at whose address `/hub` the folders `repositories/owner/name` are repositories on the hub, and
    those in `repositories/datasets/owner/name` datasets. Every revision has what the folder has.
    """

    commit = hashlib.sha1(b"main").hexdigest()  # what main is

    def place(self, path):
        if not path.startswith("/hub/"):
            return super().place(path)
        repository, _, file = path.removeprefix("/hub/").partition("/resolve/")
        return self.server.folder / "repositories" / repository / file.partition("/")[2]

    def answer(self, body):
        path = urlsplit(self.path).path
        if not path.startswith("/hub/api/"):
            return super().answer(body)
        self.server.requests.append((self.command, path, None))
        asked = re.fullmatch(r"/hub/api/(?:models|(datasets))/([^/]+/[^/]+)(/tree/.*)?", path)
        kind, name, tree = asked.groups() if asked else ("", "", None)
        folder = self.server.folder / "repositories" / (kind or "") / name
        if asked is None or not folder.is_dir():
            return self.send_error(404)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        listing = [
            {
                "type": "file",
                "path": str(file.relative_to(folder)),
                "size": file.stat().st_size,
                "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
            }
            for file in files
        ]
        content = json.dumps(listing if tree else {"id": name, "sha": self.commit}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
