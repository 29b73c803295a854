"""The command `batch`."""

from __future__ import annotations

import argparse
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import BatchError, InputError
from ..runs.options import BatchOptions
from .bar import BatchBar
from .derive import add_options, made
from .options import Commands, HelpFormatter, add_quiet, path
from .process import tell
from .rows import KINDS, Given, clip_of

if TYPE_CHECKING:
    from ..runs.batch import Batch, BatchClip, Workers
    from ..runs.status import Status

_ABOUT = """
Restore many clips. IN is a folder of them, or a manifest with one clip a line: a .csv file, whose first line names the
keys, or a .jsonl file with an object a line. Keys are input, output (a name in OUT), command (restore or stc), and any
flag of that command. After restore or stc at the end come flags for all clips; a line of the manifest overrules them.
What is done is not done again: OUT/status.jsonl tells what became of each clip, and the same command goes on there.
Exit code: 0 if all clips are done, 7 if some failed, others as for every command if none could be begun.
"""
_LONGEST_CELL = 100
_KEEPS_GOING = "The same command goes on with the clips that are not done"


def add(commands: Commands) -> None:
    """Add the command `batch`."""
    command = commands.add_parser(
        "batch",
        help="restore a folder or a list of clips, on one machine or many",
        description=_ABOUT,
        formatter_class=HelpFormatter,
    )
    command.add_argument("input", metavar="IN", type=path, help="folder of clips, or a manifest (.csv, .jsonl)")
    command.add_argument("output", metavar="OUT", type=path, help="folder of results")
    add_options(command, BatchOptions)
    add_quiet(command)
    kinds = command.add_subparsers(dest="command", metavar="[restore|stc]", help="and flags for all clips")
    parsers = {}
    for name, module in KINDS.items():
        parsers[name] = kinds.add_parser(name, help=f"flags of {name}", formatter_class=HelpFormatter)
        module.add_run(parsers[name])
    command.set_defaults(run=_batch, parsers=parsers, goes_on=_KEEPS_GOING)


def _batch(options: argparse.Namespace) -> int:
    from ..files.digests import Digests
    from ..files.lines import LineFile
    from ..runs.batch import Batch, part_of
    from ..runs.status import known_statuses, status_name

    chosen = made(BatchOptions, options)
    everything = _clips(options)
    clips = part_of(everything, chosen.part)
    known = known_statuses(options.output)
    name = status_name(chosen.part)
    with ExitStack() as stack:
        with _folders(options.output, everything):
            _check(everything, known)
            statuses = stack.enter_context(LineFile(options.output / name))
        digests = stack.enter_context(Digests(options.output / f".digests-{name}"))
        batch = Batch(clips, known, statuses, digests, retries=chosen.retries, retry_failed=chosen.retry_failed)
        _work(batch, chosen, options.quiet)
    return _reported(batch, options.output / name, options.quiet)


def _clips(options: argparse.Namespace) -> list[BatchClip]:
    """All clips that are asked for, with absolute paths: other machines have another folder to begin in."""
    from ..runs.manifest import read_rows

    source, results = Path(os.path.abspath(options.input)), Path(os.path.abspath(options.output))
    if source == results:
        raise InputError(f"{options.output}: this is the folder of clips itself. Give another for the results.")
    rows = read_rows(source, results)
    folder = source if source.is_dir() else source.parent
    command = options.command or "restore"
    given = options if options.command else options.parsers[command].parse_args([])
    for_all = Given(command, options.parsers, given, folder, results)
    return [clip_of(row, for_all) for row in rows]


def _check(clips: Sequence[BatchClip], known: Mapping[str, Status]) -> None:
    """Refuse, before any work, outputs that cannot be written or clash, and weights that are missing."""
    from ..files.paths import check_paths

    by_name: dict[str, BatchClip] = {}
    for clip in clips:
        other = by_name.setdefault(unicodedata.normalize("NFC", clip.id).casefold(), clip)
        if other is not clip:
            raise InputError(f"{other.where} and {clip.where} both write {clip.id}. Give one of them another output.")
    inputs = {place: None for clip in clips for place in clip.job.inputs()}
    fresh = [clip for clip in clips if clip.id not in known or known[clip.id].state != "done"]
    named = [replace(place, name=f"{place.name} of {clip.where}") for clip in fresh for place in clip.job.outputs()]
    check_paths(inputs, named)
    for clip in clips:
        clip.job.weights(clip.loader)


@contextmanager
def _folders(results: Path, clips: Sequence[BatchClip]) -> Iterator[None]:
    """The folders of results, made where they are missing; where the block ends badly, what was made is removed."""
    from ..files.paths import Output, check_paths

    check_paths([], [Output(results, "results", form="folder")])
    made: list[Path] = []
    try:
        for folder in dict.fromkeys([Path(os.path.abspath(results)), *(clip.job.target.parent for clip in clips)]):
            made += [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        for folder in sorted(made, reverse=True):
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise InputError(f"{error.filename}: a file is in the way of a folder of results. Remove it.") from error
        raise


def _work(batch: Batch, chosen: BatchOptions, quiet: bool) -> None:
    """Restore what remains."""
    from ..media.lengths import stated_frames
    from ..runs.batch import longest_first

    remaining = [replace(clip, frames=stated_frames(clip.job.source)) for clip in batch.remaining()]
    if not remaining:
        return
    bar = None if quiet else BatchBar(sum(max(1, clip.frames) for clip in remaining))
    workers = _workers(chosen, remaining, bar)
    if bar is not None:
        batch.told = bar.told
    batch.run(longest_first(remaining, lambda clip: clip.frames), workers)


def _workers(chosen: BatchOptions, clips: Sequence[BatchClip], bar: BatchBar | None) -> Workers:
    if chosen.workers == "ray":
        from ..runs.ray_workers import workers_on_ray

        return workers_on_ray(chosen, clips)
    from ..base.devices import choose_device, choose_dtype
    from ..runs.batch import workers_here

    for device, dtype in {(clip.loader.device, clip.loader.dtype) for clip in clips}:
        choose_dtype(dtype, choose_device(device))
    return workers_here(bar)


def _reported(batch: Batch, statuses: Path, quiet: bool) -> int:
    """The table of all clips. Raises BatchError where some failed."""
    results = [batch.results[clip.id] for clip in batch.clips]
    failed = sum(result.state == "failed" for result in results)
    if not quiet:
        tell(_table(results))
    if failed:
        raise BatchError(f"{failed} of {len(results)} clip(s) failed. {statuses} tells why.")
    return 0


def _table(results: Sequence[Status]) -> str:
    """A line for each clip, and the sums."""
    width = max([len("clip"), *(len(result.id) for result in results)])
    lines = [f"{'clip':<{width}}  {'state':<6}  {'code':>4}  {'seconds':>8}  message"]
    for result in results:
        message = result.message if len(result.message) <= _LONGEST_CELL else f"{result.message[:_LONGEST_CELL]}..."
        numbers = f"{result.state:<6}  {result.exit_code:>4}  {result.seconds:>8.1f}"
        lines.append(f"{result.id:<{width}}  {numbers}  {message}".rstrip())
    done = sum(result.state == "done" for result in results)
    return "\n".join([*lines, f"{done} done, {len(results) - done} failed"])
