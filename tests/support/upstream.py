"""LLaVA's released files in miniature, in their own layouts, and a web server that can misbehave."""

import csv
import hashlib
import io
import json
import threading
import zipfile
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

COLUMNS = [
    "dataset",
    "holds",
    "file",
    "url",
    "mirrors",
    "sha256",
    "bytes",
    "gigabytes",
    "count",
    "converted_gigabytes",
    "licence",
]


def image(seed=0, *, mode="RGB", form="JPEG", size=(32, 24)):
    """The bytes of an image file."""
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        made = Image.fromarray(rng.integers(0, 2**16, size[::-1]).astype(np.uint16))
    else:
        made = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).convert(mode)
    content = io.BytesIO()
    made.save(content, form)
    return content.getvalue()


def archive(file, members):
    """A zip archive: name -> content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return file


def record(name, path, *turns):
    """A record in the released form; text-only ones have no image and an empty model."""
    said = [{"from": ["human", "gpt"][i % 2], "value": turn} for i, turn in enumerate(turns)]
    shown = {"model": ""} if path is None else {"image": path}
    return {"id": name, **shown, "conversations": said}


def write_table(file, rows):
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        writer.writerows({"gigabytes": 0, "licence": "made up", **row} for row in rows)
    return file


def pretrain(folder, site):
    """LLaVA-Pretrain with ten captions below `folder`, served at `site`; returns the table of files."""
    images = {f"{i % 3:05d}/{i % 3:05d}{i:04d}.jpg": image(i) for i in range(10)}
    records = [
        record(
            path[6:-4],
            path,
            "<image>\nDescribe it." if i % 2 else "Describe it.\n<image>",
            f"caption {i}",
        )
        for i, path in enumerate(images)
    ]
    (folder / "llava_pretrain").mkdir(parents=True)
    (folder / "llava_pretrain/captions.json").write_text(json.dumps(records))
    archive(folder / "llava_pretrain/images.zip", images)
    rows = [("records", "llava_pretrain/captions.json", 10), (".", "llava_pretrain/images.zip", 10)]
    return write_table(
        folder / "table.csv",
        [
            {
                "dataset": "llava_pretrain",
                "holds": holds,
                "file": file,
                "url": f"{site}/{file}",
                "count": count,
            }
            for holds, file, count in rows
        ],
    )


# Folder of the records' paths -> (archive, folder inside the archive).
TREES = {
    "coco/train2017": ("coco/train2017.zip", "train2017"),
    "gqa/images": ("gqa/images.zip", "images"),
    "ocr_vqa/images": ("ocr_vqa/covers.zip", "somewhere/else"),
    "textvqa/train_images": ("textvqa/train_val_images.zip", "train_images"),
    "vg/VG_100K": ("vg/images.zip", "VG_100K"),
    "vg/VG_100K_2": ("vg/images2.zip", "VG_100K_2"),
}


def mix(folder, site, *, text_only=0, extra=()):
    """The instruction mix with its five image trees, everything in it that is known to be odd, and
    `text_only` plain conversations; returns the table of files.
    """
    long = " ".join(f"word{i}" for i in range(3000))
    records = [
        record("1", "coco/train2017/1.jpg", "what ?\n<image>", "a", "and ?", "b", "why ?", "c"),
        record("2", "coco/train2017/1.jpg", "<image>\nwhat ?", "same image"),
        record("3", "gqa/images/7.jpg", "<image>\nwhat ?", "print colours"),
        record("4", "ocr_vqa/images/0001.jpg", "<image>\nwho ?", "a GIF named jpg"),
        record("5", "ocr_vqa/images/0002.jpg", "<image>\nwho ?", "a palette"),
        record("6", "textvqa/train_images/a.jpg", "<image>\nread", "grey"),
        record("7", "textvqa/train_images/b.jpg", "<image>\nread", "16 bits"),
        record("8", "vg/VG_100K/2.jpg", "<image>\nwhere ?", "there"),
        record("9", "vg/VG_100K_2/3.jpg", "<image>\nwhere ?", "there"),
        record("wgByO4Y_0", None, "hi", "hello", "write", long),
        record("sharegpt", None, "an <image> tag ?", "broken \ud83d character", "unanswered"),
        *extra,
        *(record(f"text{i}", None, "hi", f"hello {i}") for i in range(text_only)),
    ]
    images = {
        "coco/train2017/1.jpg": image(1),
        "coco/train2017/nobody_asks.jpg": image(2),
        "gqa/images/7.jpg": image(3, mode="CMYK"),
        "ocr_vqa/images/0001.gif": image(4, mode="P", form="GIF"),
        "ocr_vqa/images/0002.jpg": image(5, mode="P", form="PNG"),
        "textvqa/train_images/a.jpg": image(6, mode="L"),
        "textvqa/train_images/b.jpg": image(7, mode="I;16", form="PNG"),
        "vg/VG_100K/2.jpg": image(8),
        "vg/VG_100K_2/3.jpg": image(9),
    }
    for tree, (file, inside) in TREES.items():
        members = {
            f"{inside}/{path.rpartition('/')[2]}": content
            for path, content in images.items()
            if path.rpartition("/")[0] == tree
        }
        archive(folder / file, members)
    (folder / "llava_mix665k").mkdir(parents=True)
    (folder / "llava_mix665k/mix.json").write_text(json.dumps(records, indent=1))
    rows = [("records", "llava_mix665k/mix.json")] + [(t, f) for t, (f, _) in TREES.items()]
    return write_table(
        folder / "table.csv",
        [
            {"dataset": "llava_mix665k", "holds": holds, "file": file, "url": f"{site}/{file}"}
            for holds, file in rows
        ],
    )


class Site(BaseHTTPRequestHandler):
    """Serves files with ranges and entity tags, and what `trouble` says about a path."""

    commit = "commit"  # of everything on the hub

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def place(self, path):
        """The file that an address leads to; of the hub's, whatever the repository."""
        path = path.partition("?")[0].lstrip("/").removeprefix("hub/")
        return self.server.folder / path.split("/resolve/commit/")[-1]

    def answer(self, body):
        server, path = self.server, self.path
        server.requests.append((self.command, path, self.headers.get("Range")))
        server.times[path] += 1
        if "Authorization" in self.headers:
            server.trusted.add(path)
        file = self.place(path)
        trouble = server.trouble.get(path, lambda times: None)(server.times[path])
        if trouble == "404" or not file.is_file():
            return self.send_error(404)
        if trouble == "500":
            return self.send_error(500)
        if path.startswith("/hub/"):
            return self.send_elsewhere(file)
        content = file.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        start = 0
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == tag and trouble != "no ranges":
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            self.send_body(content[start:], trouble)

    def send_elsewhere(self, file):
        """As the hub does with large files: what it is in the headers, the bytes at another address."""
        self.send_response(302)
        elsewhere = self.server.url.replace("127.0.0.1", "localhost")
        self.send_header("Location", f"{elsewhere}/{file.relative_to(self.server.folder)}")
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"')
        self.send_header("X-Linked-Size", str(file.stat().st_size))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_body(self, content, trouble):
        if trouble == "cut":
            content = content[: len(content) // 2]
        if trouble == "stall":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.server.released.wait(20)
            return
        for i in range(0, len(content) if trouble == "trickle" else 0, 10):
            self.wfile.write(content[i : i + 10])
            self.wfile.flush()
            if self.server.released.wait(0.02):
                return
        self.wfile.write(content)
        self.wfile.flush()
        if trouble == "cut":
            self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def site(folder, handler=Site):
    """A server of `folder`: .url, .requests (method, path, range), .trouble (path -> times -> what), and
    .trusted, the paths that were sent a token.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.folder, server.requests, server.trouble, server.times = folder, [], {}, Counter()
    server.trusted = set()
    server.released = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
