"""Checks all paths of a run before any work: no output may replace an input or another output.

`check_paths` is the only check. What passes it can be written, as far as that can be known beforehand; what does not is
refused with a message, and nothing is touched.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ..base.clip import Clip, expected_length
from ..base.errors import InputError
from .staging import Staging, remove_leftovers

Form: TypeAlias = Literal["file", "clip", "folder"]
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes, in lower case, of the files that are read as still pictures."""
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".mxf"}
)
"""Suffixes, in lower case, of the files in a folder that are taken for videos."""

_SAMPLE_NUMBER = "0000"
"""Stands in for a number that is not known yet when the length of a name is checked."""


@dataclass(frozen=True)
class Output:
    """Something that a run will write.

    path: where. name: what messages call it. suffixes: those of the files that can be written, in lower case. form:
    "file"; "clip", a file or a folder of pictures, which has no suffix or exists and is empty; "folder", which may have
    content and is created if it does not exist. contents: the files that will be written into a "folder". numbered:
    instead of path itself, files named after it are written, with this word and a number before the suffix.
    """

    path: Path
    name: str
    suffixes: tuple[str, ...] = ()
    form: Form = "file"
    contents: tuple[str, ...] = ()
    numbered: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether a folder will be written."""
        there = not self.numbered and os.path.isdir(self.path)
        return self.form == "folder" or (self.form == "clip" and (there or not self.path.suffix))

    def numbered_path(self, number: int | str) -> Path:
        """The path of one file of a numbered output."""
        return self.path.with_name(f"{self.path.stem}-{self.numbered}{number}{self.path.suffix}")

    def takes(self, name: str) -> bool:
        """Whether a numbered output may use this name, on any file system."""
        begin = re.escape(f"{self.path.stem}-{self.numbered}")
        return re.fullmatch(rf"{begin}\d+{re.escape(self.path.suffix)}", name, re.IGNORECASE) is not None

    def targets(self) -> list[Path]:
        """The paths that will be written, as far as they are known: for a numbered output, those that exist."""
        if self.numbered:
            folder = self.path.absolute().parent
            return sorted(folder / entry.name for entry in os.scandir(folder) if self.takes(entry.name))
        return [self.path, *(self.path / name for name in self.contents)]


def check_paths(inputs: Iterable[Path], outputs: Sequence[Output]) -> None:
    """Refuse outputs that cannot be written or would replace an input or each other. Raises InputError.

    Links are followed. Two names of one file count as one, and so do names that differ only in case on a file system
    that ignores case. A picture may not be written into a folder of pictures that is an input. Whether a place can be
    written to is tried out. Inputs that do not exist are left to whoever reads them.
    """
    inputs = [path for path in inputs if _status(path, "input") is not None]
    for output in outputs:
        _check_form(output)
    homes = [_home(output) for output in outputs]
    ignoring_case = {
        folder
        for folder in dict.fromkeys(homes)
        if _try_folder(folder, [output for output, home in zip(outputs, homes, strict=True) if home == folder])
    }
    given = [_Place(path, ignoring_case) for path in inputs]
    read, written = _Neighbours(), _Neighbours()
    for number, place in enumerate(given):
        read.add(number, place)
    places = [[_Place(path, ignoring_case) for path in output.targets()] for output in outputs]
    for number, output in enumerate(outputs):
        for place in places[number]:
            _check_against_inputs(output, place, [given[other] for other in read.of(place)])
        near = {other for place in places[number] for other in written.of(place)}
        # What is numbered may come to be another's: it is looked at beside all.
        near |= {other for other in range(number) if output.numbered or outputs[other].numbered}
        for other in sorted(near):
            _check_apart(output, places[number], outputs[other], places[other])
        for place in places[number]:
            written.add(number, place)


def check_frames(clip: Clip, outputs: Iterable[Output]) -> None:
    """Refuse a picture as the output of a clip of several frames. Raises InputError."""
    count = expected_length(clip)
    for output in outputs:
        if count > 1 and not output.is_folder and output.path.suffix.lower() in PICTURE_SUFFIXES:
            raise InputError(
                f"{output.path}: a picture holds one frame, but the clip has {count}. Give a video or a folder for "
                f"the {output.name}."
            )


class _Place:
    """Where a path leads, for comparison with others."""

    def __init__(self, path: Path, ignoring_case: Collection[Path]) -> None:
        """ignoring_case: folders in which names that differ only in case are the same."""
        self.path = path
        self.real = Path(os.path.realpath(path))
        self._folds = self.real.parent in ignoring_case
        self._file = (found.st_dev, found.st_ino) if (found := _status(path, "path")) is not None else None

    @property
    def _name(self) -> str:
        return _composed(self.real.name).casefold() if self._folds else self.real.name

    def is_same(self, other: _Place) -> bool:
        """Whether both are one file or folder, existing or still to be created."""
        if self._file is not None and other._file is not None:
            return self._file == other._file
        return self.real.parent == other.real.parent and self._name == other._name

    def is_in(self, folder: _Place) -> bool:
        """Whether it lies directly in a folder."""
        return self.real.parent == folder.real

    def marks(self) -> list[Hashable]:
        """What it shares with every place that `is_same`."""
        return [(self.real.parent, self._name), *([self._file] if self._file is not None else [])]


class _Neighbours:
    """Places by what they have in common, so that among thousands not every pair must be compared."""

    def __init__(self) -> None:
        self._by_mark: defaultdict[Hashable, list[int]] = defaultdict(list)
        self._by_path: defaultdict[Path, list[int]] = defaultdict(list)
        self._by_folder: defaultdict[Path, list[int]] = defaultdict(list)

    def add(self, number: int, place: _Place) -> None:
        """Keep a place under a number."""
        for mark in place.marks():
            self._by_mark[mark].append(number)
        self._by_path[place.real].append(number)
        self._by_folder[place.real.parent].append(number)

    def of(self, place: _Place) -> list[int]:
        """The numbers of all that may be the same as a place, in it, or what it lies in, in order."""
        found = {number for mark in place.marks() for number in self._by_mark.get(mark, ())}
        return sorted(found.union(self._by_path.get(place.real.parent, ()), self._by_folder.get(place.real, ())))


def _check_against_inputs(output: Output, place: _Place, inputs: Iterable[_Place]) -> None:
    for given in inputs:
        if place.is_same(given):
            raise InputError(f"{place.path}: this is the input itself. Give another path for the {output.name}.")
        if place.is_in(given) and place.real.suffix.lower() in PICTURE_SUFFIXES:
            raise InputError(
                f"{place.path}: the {output.name} would become one of the input pictures in that folder. Give a path "
                "elsewhere."
            )


def _check_apart(output: Output, places: list[_Place], other: Output, others: list[_Place]) -> None:
    """Refuse two outputs that are, or may become, the same, or of which one lies among the other's frames."""
    for one in places:
        for two in others:
            if one.is_same(two) or _meets(output, one, other, two) or _meets(other, two, output, one):
                raise InputError(
                    f"{one.path}: the {output.name} and the {other.name} are the same file, or one lies inside the "
                    "other. Give them different names."
                )
    for numbered, fixed in ((output, others), (other, places)):
        clash = [place.path for place in fixed if numbered.numbered and _may_be(numbered, place)]
        if clash:
            raise InputError(
                f"{clash[0]}: the {output.name} and the {other.name} could become the same file. Give them different "
                "names."
            )


def _meets(inner: Output, place: _Place, outer: Output, folder: _Place) -> bool:
    """Whether a file would lie among another output's frames."""
    return outer.form == "clip" and outer.is_folder and not inner.is_folder and place.is_in(folder)


def _may_be(numbered: Output, place: _Place) -> bool:
    """Whether a numbered output will use this place if it reaches that number."""
    home = Path(os.path.realpath(numbered.path.absolute().parent))
    return place.real.parent == home and numbered.takes(place.real.name)


def _check_form(output: Output) -> None:
    """Refuse a name of a kind that cannot be written, one that is too long, and anything in the way."""
    _check_kind(output)
    path = output.numbered_path(_SAMPLE_NUMBER) if output.numbered else output.path
    _status(path, output.name)
    parent = path.absolute().parent
    if output.form != "folder" and not os.path.isdir(parent):
        raise InputError(
            f"{path}: {parent} is a file, not a folder. Give another path for the {output.name}."
            if os.path.exists(parent)
            else f"{path}: the folder {parent} does not exist. Create it first."
        )
    if path.is_symlink() and not os.path.isdir(os.path.dirname(os.path.realpath(path))):
        raise InputError(
            f"{path}: this is a link to {os.readlink(path)}, whose folder does not exist. Create that folder, or "
            "remove the link."
        )
    for target in output.targets():
        inside = not output.numbered and target != output.path
        _check_in_the_way(output, target, is_folder=output.is_folder and not inside)


def _check_kind(output: Output) -> None:
    path = output.path
    if output.is_folder:
        if path.name.lower() in output.suffixes:
            raise InputError(f"{path}: there is no name before the suffix. Give the {output.name} a name.")
    elif path.suffix.lower() not in output.suffixes:
        what = f"cannot write {path.suffix} files" if path.suffix else "this name has no suffix"
        choice = ", ".join(output.suffixes) + (", or no suffix for a folder of PNGs" if output.form == "clip" else "")
        raise InputError(f"{path}: {what}. For the {output.name}, use {choice}.")


def _status(path: Path, name: str) -> os.stat_result | None:
    """What is at path, or None for nothing; InputError for a path that the file system does not accept."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        hint = "Check its permissions, or give another path."
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            hint = f"The name has {len(os.fsencode(path.name))} bytes, but most file systems allow 255: shorten it."
        raise InputError(
            f"{path}: cannot be used as {name} ({getattr(error, 'strerror', None) or error}). {hint}"
        ) from error


def _check_in_the_way(output: Output, path: Path, *, is_folder: bool) -> None:
    """Refuse to replace anything but a file with a file, anything but a folder with a folder, and what is protected."""
    found = _status(path, output.name)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: not a file, but a device or a pipe. Give the path of a file for the {output.name}.")
    if stat.S_ISDIR(found.st_mode) != is_folder:
        there = "file" if is_folder else "folder"
        raise InputError(f"{path}: a {there} is in the way of the {output.name}. Remove it or give another path.")
    if is_folder:
        remove_leftovers(path)
        if output.form == "clip" and any(path.iterdir()):
            raise InputError(f"{path}: the folder is not empty. Give an empty or new folder for the frames.")
    else:
        _check_unprotected(output, path)


def _check_unprotected(output: Output, path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        raise InputError(
            f"{path}: this file already exists and cannot be replaced ({error.strerror}). Give another path for the "
            f"{output.name}."
        ) from error


def _home(output: Output) -> Path:
    """The folder in which an output, or the first missing folder above it, will be created."""
    if output.numbered:
        return Path(os.path.realpath(output.path.absolute().parent))
    place = Path(os.path.realpath(output.path))
    if not output.is_folder:
        return place.parent
    return next(folder for folder in (place, *place.parents) if os.path.lexists(folder))


def _try_folder(folder: Path, outputs: Iterable[Output]) -> bool:
    """Create something in a folder, under the names of its outputs, and remove it again.

    Returns whether names that differ only in case are the same in the folder.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: this is a file, not a folder. Give another path.")
    try:
        trial = Staging(folder / "trial")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write into this folder ({error.strerror or error}). Check its permissions and free "
            "space, or give a path elsewhere."
        ) from error
    hidden = trial.path.parent
    try:
        for output in outputs:
            _try_name(output, hidden, folder)
        return hidden.with_name(hidden.name.upper()).exists()
    finally:
        trial.discard()


def _try_name(output: Output, hidden: Path, home: Path) -> None:
    """Refuse a name that the file system rejects, or reads as a different one, as Windows does with `a:b.mp4` and
    `nul`.

    The name is tried out in hidden, a folder in home, so nobody sees a file of that name before it is complete.
    """
    name = _new_name(output, home)
    try:
        (hidden / name).touch()
    except OSError as error:
        raise InputError(
            f"{output.path}: cannot create {name!r} in {home} ({error.strerror or error}). Shorten the path, or give "
            f"a plainer name for the {output.name}."
        ) from error
    if _composed(name) not in map(_composed, os.listdir(hidden)):
        raise InputError(
            f"{output.path}: this system reads {name!r} as a different name. Give a plainer one for the {output.name}."
        )


def _new_name(output: Output, home: Path) -> str:
    """The name of what will be created in an output's home: a file in it, if the home is the output itself."""
    if output.numbered:
        return output.numbered_path(_SAMPLE_NUMBER).name
    below = Path(os.path.realpath(output.path)).relative_to(home).parts
    return next(iter((*below, *output.contents)), f"{_SAMPLE_NUMBER}.png")


def _composed(name: str) -> str:
    """A name with its accents in composed form: some file systems return them decomposed."""
    return unicodedata.normalize("NFC", name)
