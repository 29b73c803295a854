"""Downloading weight files, only with consent."""

from __future__ import annotations

import glob
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..base.errors import InputError, WeightsError
from ..base.progress import Callback, report
from ..files.digests import sha256_of
from .inspect import fault_of
from .registry import WeightFile, weight_file

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
_SLOW_SECONDS, _SLOW_BYTES = 60, 60 << 10
"""A connection that brings fewer bytes in that time is given up: a server may send a byte now and then for ever."""
_LEAST = 1 << 20
_TRIES = 5
_PAUSE_SECONDS = 1.0
"""The download fails after _TRIES connections in a row that broke before they brought _LEAST bytes. Before each but the
first there is a pause, twice as long each time."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ELSEWHERE = "choose another folder for weights (on the command line --weights, in ComfyUI extra_model_paths.yaml)"
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
    """Download the files of these roles from their sources into folder; a file that is already there is left alone.

    Each file is written under a temporary name beside its place, where an interrupted download resumes the next time.
    It is compared with the size (and the SHA-256, if there is one) that the registry or the hub states, and only then
    renamed. A download whose connection is too slow, or breaks too often, fails; what has come is kept.
    huggingface_hub supplies the endpoint and the login; its own downloader is not used because from version 2 on
    it starts again after an interruption. The callback gets the stage "download <role>" in bytes.

    Raises InputError, with every licence, unless accept_license is True, and for a folder that cannot be created or has
    no room; WeightsError, with the address, if a file cannot be fetched, and for a damaged one that is already there.
    """
    entries = [weight_file(role) for role in roles]
    if not accept_license:
        terms = "\n".join(f"  {entry.name}: {entry.licence}" for entry in entries)
        raise InputError(
            f"Nothing was downloaded: these files have their own licences.\n{terms}\n"
            "Read them, and repeat the command with --accept-license if you accept them."
        )
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be created as a folder for weights ({error.strerror}): make it by hand, or {_ELSEWHERE}."
        ) from error
    return [_fetch(entry, folder, callback) for entry in entries]


def _fetch(entry: WeightFile, folder: Path, callback: Callback | None) -> Path:
    target = folder / entry.name
    if target.is_file():
        return _checked_old(target, entry)
    if target.exists():
        raise InputError(f"{target} is in the way: it is not a file. Move it, or {_ELSEWHERE}.")
    remote = _ask_hub(entry)
    if entry.size and remote.size != entry.size:
        raise WeightsError(f"{entry.url} has {remote.size} bytes instead of {entry.size}: it is a different file now.")
    # named after the content, so that a newer version never continues an older one's beginning
    partial = folder / f".{entry.name}.{hashlib.sha256(remote.etag.encode()).hexdigest()[:12]}.partial"
    _check_room(partial, remote.size)
    _gather(entry, remote, partial, callback)
    fault = _difference(partial, remote.size, entry.sha256 or remote.etag)
    if fault:
        partial.unlink()
        raise WeightsError(f"The download of {entry.url} is damaged ({fault}) and was removed. Try again.")
    try:
        os.replace(partial, target)
    except OSError as error:
        raise WeightsError(
            f"{partial} is complete, but cannot be renamed to {target} ({error.strerror}). Rename it by hand."
        ) from error
    for stale in folder.glob(f".{glob.escape(entry.name)}.*.partial"):
        stale.unlink()
    return target


def _checked_old(target: Path, entry: WeightFile) -> Path:
    """The file that is already there. Raises WeightsError if it is damaged."""
    fault = fault_of(target, entry.role)
    if fault:
        raise WeightsError(f"{target} already exists, but {fault}. Delete or rename it, and try again.")
    return target


def _check_room(partial: Path, size: int) -> None:
    """Raise InputError, before anything is fetched, if the disk has no room for what is still missing."""
    missing = size - _length(partial)
    free = shutil.disk_usage(partial.parent).free
    if free < missing:
        raise InputError(
            f"{partial.parent} has room for {amount(free)}, but {amount(missing)} are still needed: nothing was "
            f"downloaded. Make room, or {_ELSEWHERE}."
        )


def _gather(entry: WeightFile, remote: _Remote, partial: Path, callback: Callback | None) -> None:
    """Fetch all bytes into partial, over as many connections as it takes while each of them brings something."""
    meagre = 0
    while (done := _length(partial)) < remote.size:
        try:
            _continue(remote, partial, entry.role, callback)
        except WeightsError as error:
            gained = _length(partial) - done
            if not gained:
                raise
            meagre = 0 if gained >= _LEAST else meagre + 1
            if meagre == _TRIES:
                raise WeightsError(
                    f"{entry.url}: gave up after {meagre} connections in a row that brought little. "
                    f"{_length(partial)} of {remote.size} bytes are kept; the next try goes on from there. {error}"
                ) from error
            time.sleep(_PAUSE_SECONDS * 2**meagre if meagre else 0)
            remote = _ask_hub(entry)  # the signed address may have expired


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def amount(size: int) -> str:
    """A number of bytes in words, such as "2.84 GiB"."""
    return (
        f"{size / 2**30:.2f} GiB"
        if size >= 1 << 28
        else f"{size / 2**20:.1f} MiB"
        if size >= 1 << 20
        else f"{size} bytes"
    )


def _ask_hub(entry: WeightFile) -> _Remote:
    """Where the file is, how many bytes it has, and which version it is."""
    if entry.address:
        return _ask_server(entry)
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    token = huggingface_hub.get_token()
    # the hub's own error derives from its HTTP client's, which has changed from version to version
    network_errors: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        page = huggingface_hub.hf_hub_url(entry.repository, entry.path)
        found = huggingface_hub.get_hf_file_metadata(page, token=token)
    except network_errors as error:
        raise _unreachable(entry.url, error) from error
    if not found.size or not found.etag:
        raise WeightsError(f"{entry.url} states no size or version. Download it by hand into the weights folder.")
    same_host = urlsplit(found.location).netloc == urlsplit(page).netloc
    return _Remote(found.location, token if same_host else None, found.etag, found.size)


def _ask_server(entry: WeightFile) -> _Remote:
    """The same for a file that is not on Hugging Face, by a HEAD request."""
    try:
        request = urllib.request.Request(entry.address, method="HEAD")
        with _open(request) as response:
            stated = response.headers.get("Content-Length") or ""
            size = int(stated) if stated.isdecimal() else 0
            etag = response.headers.get("ETag") or response.headers.get("Last-Modified") or str(size)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(entry.url, error) from error
    if not size:
        raise WeightsError(f"{entry.url} states no size. Download it by hand into the weights folder.")
    return _Remote(entry.address, None, etag.strip('"'), size)


def _continue(remote: _Remote, partial: Path, role: str, callback: Callback | None) -> None:
    """Append to partial what is still missing, as far as the connection and the disk allow."""
    with _writing(partial, remote), partial.open("ab") as file:
        done = file.tell()
        for position, chunk in _stream(remote, done):
            if position < done:  # the server does not support ranges and sends everything again
                file.truncate(position)
            done = position + len(chunk)
            file.write(chunk)
            report(callback, f"download {role}", done, remote.size)


@contextmanager
def _writing(partial: Path, remote: _Remote) -> Iterator[None]:
    """Turn errors of the disk into a WeightsError that says what is kept; those of the network already are one."""
    try:
        yield
    except OSError as error:
        kept = _length(partial)
        raise WeightsError(
            f"{partial.parent} cannot be written to ({error.strerror or error}). "
            + (
                f"{kept} of {remote.size} bytes are kept in {partial.name}; the next try goes on from there. "
                if kept
                else ""
            )
            + f"Make room, change the permissions, or {_ELSEWHERE}."
        ) from error


def _stream(remote: _Remote, start: int) -> Iterator[tuple[int, bytes]]:
    """The file's bytes from start on, in chunks with positions, which begin at 0 if the server knows no ranges."""
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={start}-"} if start else {})
    if remote.token:
        request.add_unredirected_header("Authorization", f"Bearer {remote.token}")
    position = start
    try:
        with _open(request) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                position = 0
            while chunk := _chunk(response):
                if position + len(chunk) > remote.size:
                    raise WeightsError(
                        f"{remote.url} sends more than the {remote.size} bytes it announced. Try again later."
                    )
                yield position, chunk
                position += len(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(remote.url, error) from error
    if position < remote.size:
        raise WeightsError(
            f"{remote.url} ended after {position} of {remote.size} bytes. Try again: the download resumes there."
        )


def _chunk(response: http.client.HTTPResponse) -> bytes:
    """The next bytes, at most _CHUNK; fewer if the connection is slow; b"" at the end.

    Raises TimeoutError if hardly anything came.
    """
    parts: list[bytes] = []
    length, started = 0, time.monotonic()
    while length < _CHUNK and (part := response.read1(_CHUNK - length)):
        parts.append(part)
        length += len(part)
        if time.monotonic() - started > _SLOW_SECONDS:
            if length < _SLOW_BYTES:
                raise TimeoutError(f"only {length} bytes arrived in {_SLOW_SECONDS} seconds")
            break
    return b"".join(parts)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only; on this machine itself, where tests run a server, also from http to http."""

    def redirect_request(self, request: urllib.request.Request, *args: Any) -> urllib.request.Request | None:
        """The request to the new address. Raises WeightsError for one that is not safe."""
        address = args[-1]
        _check_address(address, loopback=_is_loopback(request.full_url))
        return super().redirect_request(request, *args)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    _check_address(request.full_url, loopback=True)
    opener = urllib.request.build_opener(_SafeRedirects)
    response: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_SECONDS)
    return response


def _check_address(url: str, *, loopback: bool) -> None:
    """Raise WeightsError for an address that is not https; loopback allows http on this machine itself."""
    if urlsplit(url).scheme != "https" and not (loopback and _is_loopback(url)):
        raise WeightsError(f"{url} was not downloaded: without https, anyone on the way could change it.")


def _is_loopback(url: str) -> bool:
    return urlsplit(url).scheme == "http" and urlsplit(url).hostname in _LOOPBACK


def _difference(path: Path, size: int, checksum: str) -> str | None:
    """How a finished download differs from what is stated, or None. A checksum may be some other mark of a version."""
    found = path.stat().st_size
    if found != size:
        return f"{found} bytes instead of {size}"
    if not _SHA256.fullmatch(checksum):
        return None
    return None if sha256_of(path) == checksum else "its SHA-256 is not the stated one"


def _unreachable(url: str, error: Exception) -> WeightsError:
    reason = re.sub(r"^<urlopen error |>$|\[Errno -?\d+\] ", "", str(error))  # the words without their wrapping
    return WeightsError(
        f"{url} could not be downloaded: {reason}. Check the connection and, for a repository that asks for one, "
        "the login (`hf auth login`); then try again, or download the file by hand."
    )
