"""A local stand-in for Hugging Face, as slow or broken as a test asks for."""

from __future__ import annotations

import hashlib
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

CONTENT = bytes(torch.randint(256, (5000,), generator=torch.Generator().manual_seed(0)).tolist())


class Hub(ThreadingHTTPServer):
    """Answers with metadata and a redirect to another host that holds the bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.content = CONTENT
        self.etag = hashlib.sha256(CONTENT).hexdigest()
        self.status = 200
        self.knows_ranges = True
        self.break_after = []
        self.names_storage = True
        self.pieces = None
        self.pause = 0.02
        self.storage = f"http://localhost:{self.server_port}"
        self.requests = []

    def page(self, repository, path):
        return f"http://127.0.0.1:{self.server_port}/{repository}/resolve/main/{path}"

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""

    @property
    def ranges(self):
        return [headers.get("Range") for method, _, headers in self.requests if method == "GET"]


class HubHandler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        hub = self.server
        hub.requests.append(("HEAD", self.path, dict(self.headers)))
        if self.path.startswith("/release/"):
            self.send_response(hub.status)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("ETag", '"some-version"')
            self.end_headers()
            return
        redirects = hub.status == 200 and hub.names_storage
        self.send_response(302 if redirects else hub.status)
        self.send_header("Content-Length", "0")
        if redirects:
            self.send_header("Location", f"{hub.storage}/bytes{self.path}")
        if hub.status == 200:
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("X-Linked-Etag", f'"{hub.etag}"')
            self.send_header("X-Linked-Size", str(len(CONTENT)))
        self.end_headers()

    def do_GET(self):
        hub = self.server
        if self.path.startswith("/api/"):  # the hub's client asks for more than files
            self.send_error(404)
            return
        hub.requests.append(("GET", self.path, dict(self.headers)))
        if self.headers["Host"].startswith("127.0.0.1"):
            self.send_response(302)
            self.send_header("Location", f"{hub.storage}{self.path}")
            self.end_headers()
            return
        start = 0
        if hub.knows_ranges and self.headers.get("Range"):
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(hub.content) - start))
        self.end_headers()
        sent = hub.break_after.pop(0) if hub.break_after else len(hub.content)
        for piece in range(start, start + sent, hub.pieces or sent or 1):
            self.wfile.write(hub.content[piece : min(piece + (hub.pieces or sent), start + sent)])
            self.wfile.flush()
            if hub.pieces:
                time.sleep(hub.pause)
        self.close_connection = True
