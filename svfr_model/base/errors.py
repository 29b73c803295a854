"""Every error this library raises on purpose.

Each message names what was found, what was needed and what to do next. The command line turns the class into its
exit code; the nodes show the message as it stands.
"""

from __future__ import annotations

import errno
from pathlib import Path


class SVFRError(Exception):
    """Base of all errors of this library."""

    exit_code = 1


class InputError(SVFRError):
    """A clip, picture, mask or parameter that cannot be used."""

    exit_code = 2


class WeightsError(SVFRError):
    """A weight file that is missing, broken or of another architecture."""

    exit_code = 3


class NotFiniteError(SVFRError):
    """A network returned NaN or infinite values, so there is no picture to show."""

    exit_code = 6


class FaceNotFoundError(SVFRError):
    """No face where one is needed."""

    exit_code = 4


class DependencyError(SVFRError):
    """An installed package that is missing or cannot do what is asked of it."""

    exit_code = 5


class BatchError(SVFRError):
    """Clips of a batch that failed; the others are done."""

    exit_code = 7


_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or write to another disk.",
    errno.EDQUOT: "Your disk quota is used up: free some space, or write to another disk.",
    errno.EFBIG: "The file is too large for this file system: write to another disk.",
    errno.EACCES: "You are not allowed to write there: check the permissions, or choose another folder.",
    errno.EPERM: "You are not allowed to write there: check the permissions, or choose another folder.",
    errno.EROFS: "The disk is read-only: choose another folder.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "The folder no longer exists: create it again, or choose another.",
    errno.EIO: "The disk reported an error: write to another disk.",
}


def cannot_write(path: Path, error: Exception) -> InputError:
    """The error for a file that could not be written: the file, the system's reason, and a remedy."""
    reason = getattr(error, "strerror", None) or str(error)
    number: int = getattr(error, "errno", None) or 0  # PyAV's errors have one too, and not all are OSError
    remedy = _REMEDIES.get(number, "Write to another place or in another format.")
    return InputError(f"{path}: cannot be written ({reason}). {remedy}")
