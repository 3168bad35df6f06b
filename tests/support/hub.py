"""A web server with the parts of the hub's API that its client needs to fetch repositories."""

import hashlib
import json
import re
from urllib.parse import urlsplit

from .upstream import Site


class Hub(Site):
    """A site whose `/hub` serves folders `repositories/owner/name` as repositories of the hub, and those in
    `repositories/datasets/owner/name` as datasets. All revisions are equal.
    """

    commit = hashlib.sha1(b"main").hexdigest()  # of main

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
        request = re.fullmatch(r"/hub/api/(?:models|(datasets))/([^/]+/[^/]+)(/tree/.*)?", path)
        kind, name, tree = request.groups() if request else ("", "", None)
        folder = self.server.folder / "repositories" / (kind or "") / name
        if request is None or not folder.is_dir():
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
