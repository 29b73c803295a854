"""TorchScript files are programs: one is only loaded if it is known, or if the user trusts it.

A module's code can do whatever torch can, including writing files of its choice (`torch.from_file`), when it is loaded
and whenever it runs. No check of its contents can tell a good one from a bad one, so the file itself must be known.
"""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import torch

from ..base.errors import WeightsError
from ..files.digests import sha256_of

log = logging.getLogger(__name__)


def load_torchscript(
    path: Path, what: str, remedy: str, *, sha256: str = "", trusted: bool = False, device: torch.device | str = "cpu"
) -> torch.jit.ScriptModule:
    """The module in a TorchScript file, whose code will run on this machine.

    The file must have the given SHA-256, or be trusted: the user has said that its code may run. what and remedy are
    for the message: what the file should be, and what else can be done. Raises WeightsError for any other file, before
    a byte of it is interpreted, and for one that is not TorchScript.
    """
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is not a TorchScript module. Expected {what}: delete the file and get it again.")
    if not trusted and not (sha256 and sha256_of(path) == sha256):
        raise WeightsError(
            f"{path} was not loaded: it is TorchScript, a program that can do anything on this machine that you can, "
            f"and it is not known to be {what}. If you trust where it comes from, say so with --trust-torchscript (in "
            f"ComfyUI: trust_torchscript on the node). {remedy}"
        )
    if trusted:
        log.warning("%s is TorchScript: its code runs now, because you said that you trust it.", path)
    try:
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a TorchScript module ({str(error).splitlines()[0]}). "
            f"Expected {what}: delete the file and get it again."
        ) from error
    module.eval()
    return module
