"""Fetching weight files, on consent only."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import InputError, WeightsError
from ..progress import Callback, report
from .registry import WeightFile, weight_file

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Remote:
    """What the hub says about one file."""

    url: str
    token: str | None
    etag: str
    size: int


def download(
    roles: Sequence[str], folder: Path | str, *, accept_license: bool, callback: Callback | None = None
) -> list[Path]:
    """Fetch the files of these roles from their sources into folder; a file that is there already is left alone.

    Each file is written beside its place under a temporary name, where an interrupted download goes on the next
    time, is compared with the size (and, where given, the SHA-256) that the hub states, and is only then renamed.
    huggingface_hub supplies the endpoint and the login; its own downloader is not used because from version 2 on
    it starts again after an interruption. The callback gets the stage "download <role>" in bytes.

    Raises InputError, with every licence spelt out, unless accept_license is True; WeightsError, with the address,
    where a file cannot be had.
    """
    entries = [weight_file(role) for role in roles]
    if not accept_license:
        terms = "\n".join(f"  {entry.name}: {entry.licence}" for entry in entries)
        raise InputError(
            f"Nothing was downloaded: these files have licences of their own.\n{terms}\n"
            "Read them, and repeat with --accept-license if you accept them."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch(entry, folder, callback) for entry in entries]


def _fetch(entry: WeightFile, folder: Path, callback: Callback | None) -> Path:
    target = folder / entry.name
    if target.is_file():
        return target
    remote = _ask_hub(entry)
    # named after the content, so that a newer version never continues an older one's beginning
    partial = folder / f".{entry.name}.{hashlib.sha256(remote.etag.encode()).hexdigest()[:12]}.partial"
    while (done := partial.stat().st_size if partial.exists() else 0) < remote.size:
        try:
            _continue(remote, partial, entry.role, callback)
        except WeightsError:
            if partial.exists() and partial.stat().st_size > done:
                remote = _ask_hub(entry)  # the connection broke on the way: the signed address may have expired
                continue
            raise
    fault = _difference(partial, remote)
    if fault:
        partial.unlink()
        raise WeightsError(f"The download of {entry.url} is damaged ({fault}) and was removed. Try again.")
    os.replace(partial, target)
    for stale in folder.glob(f".{entry.name}.*.partial"):
        stale.unlink()
    return target


def _ask_hub(entry: WeightFile) -> _Remote:
    """Where the file's bytes are, how many, and which version of it."""
    if entry.address:
        return _ask_server(entry)
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    token = huggingface_hub.get_token()
    # the hub's own error derives from its HTTP client's, which has changed from version to version
    network_errors = (OSError, *HfHubHTTPError.__bases__)
    try:
        page = huggingface_hub.hf_hub_url(entry.repository, entry.path)
        found = huggingface_hub.get_hf_file_metadata(page, token=token)
    except network_errors as error:
        raise _unreachable(entry.url, error) from error
    if not found.size or not found.etag:
        raise WeightsError(f"{entry.url} states no size or version. Fetch it by hand into the weights folder.")
    same_host = urlsplit(found.location).netloc == urlsplit(page).netloc
    return _Remote(found.location, token if same_host else None, found.etag, found.size)


def _ask_server(entry: WeightFile) -> _Remote:
    """The same of a file that is not on Hugging Face, by a HEAD request."""
    try:
        request = urllib.request.Request(entry.address, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            size = int(response.headers.get("Content-Length") or 0)
            etag = response.headers.get("ETag") or response.headers.get("Last-Modified") or str(size)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(entry.url, error) from error
    if not size:
        raise WeightsError(f"{entry.url} states no size. Fetch it by hand into the weights folder.")
    return _Remote(entry.address, None, etag.strip('"'), size)


def _continue(remote: _Remote, partial: Path, role: str, callback: Callback | None) -> None:
    """Append to partial what is still missing, as far as the connection holds."""
    with partial.open("ab") as file:
        done = file.tell()
        for position, chunk in _stream(remote, done):
            if position < done:  # the server knows no ranges and sends all of it again
                file.truncate(position)
            done = position + len(chunk)
            file.write(chunk)
            report(callback, f"download {role}", done, remote.size)


def _stream(remote: _Remote, start: int) -> Iterator[tuple[int, bytes]]:
    """The file's bytes from start on, each chunk with its position, which begins at 0 if the server insists."""
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={start}-"} if start else {})
    if remote.token:
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    position = start
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                position = 0
            while chunk := response.read(_CHUNK):
                yield position, chunk
                position += len(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(remote.url, error) from error
    if position < remote.size:
        raise WeightsError(f"{remote.url} ended after {position} of {remote.size} bytes. Try again: it goes on there.")


def _difference(path: Path, remote: _Remote) -> str | None:
    """In what a finished download differs from what the hub states, or None."""
    size = path.stat().st_size
    if size != remote.size:
        return f"{size} bytes instead of {remote.size}"
    if not _SHA256.fullmatch(remote.etag):
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return None if digest.hexdigest() == remote.etag else "its SHA-256 is not the stated one"


def _unreachable(url: str, error: Exception) -> WeightsError:
    return WeightsError(
        f"{url} could not be downloaded: {error}. Check the connection and, for a repository that asks for one, "
        "the login (`hf auth login`); then try again, or fetch the file by hand."
    )
