"""Preparing footage: each video once, in several processes, on an index that grows; broken files are passed over."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

from ..base.errors import FaceNotFoundError, InputError, SVFRError
from ..base.progress import Callback, report
from ..files.lines import LineFile
from ..files.staging import staged
from ..media.options import VideoOptions
from ..media.reader import VideoClip
from ..media.seek import frame_stamps
from ..media.writer import ClipWriter
from .footage import FootageOptions, LoadedTools, Tools, UsableClip, find_videos, read_crops, usable_clips
from .index import (
    ARRAYS,
    INDEX,
    Index,
    IndexedClip,
    VideoOutcome,
    clip_name,
    crops_path,
    mark_of,
    read_index,
    save_arrays,
)

log = logging.getLogger(__name__)

REPORT = "report.json"
CROPS_AT_ONCE = 64
BROKEN = "the process that read it ended"


@dataclass(frozen=True)
class Summary:
    """What became of a folder of videos: how many faces were kept or dropped why, and which files cannot be read."""

    fates: Counter[str]
    unreadable: dict[str, str]
    prepared: int
    """How many videos were gone through by this run; the others were done before."""


class _StorageError(InputError):
    """What was made of a video cannot be written: that is not the video's fault."""


@dataclass(frozen=True)
class _Job:
    """Where videos are, and what is to be made of them, for every process that works on them."""

    folder: Path
    target: Path
    options: FootageOptions


Done = tuple[VideoOutcome, list[IndexedClip]]


def prepare_footage(
    folder: Path | str,
    target: Path | str,
    tools: Tools,
    options: FootageOptions | None = None,
    *,
    processes: int = 0,
    callback: Callback | None = None,
) -> Summary:
    """Find every usable face in a folder's videos and write the index of them to target; see `index`.

    What is in the index already is not done again; what a killed run left behind is. processes: how many work beside
    each other, 0 for this one alone. A video that cannot be read is passed over and named in report.json. Raises
    InputError for a folder without videos, for an index that was made with other options, while another run works on
    it, and if nothing was kept; FaceNotFoundError if no video shows a face.
    """
    options = options or FootageOptions()
    if options.least_quality is not None and tools.quality is None:
        raise InputError("least_quality is set, but there is no quality score: give load_arniqa, or unset it.")
    folder, target = Path(folder), Path(target)
    videos = [path.relative_to(folder).as_posix() for path in find_videos(folder)]
    (target / ARRAYS).mkdir(parents=True, exist_ok=True)
    job = _Job(folder, target, options)
    with LineFile(target / INDEX) as lines:
        index = _begun(lines, job, tools)
        left = [video for video in videos if not index.has(video, mark_of(folder / video))]
        for number, (outcome, clips) in enumerate(_outcomes(job, tools, left, processes)):
            for clip in clips:
                lines.add(clip.line())
            lines.add(outcome.line())
            if outcome.reason is not None:
                log.warning("%s: passed over: %s", outcome.video, outcome.reason)
            report(callback, "footage", len(videos) - len(left) + number + 1, len(videos))
    return _summary(target, videos, len(left), options)


def _begun(lines: LineFile, job: _Job, tools: Tools) -> Index:
    """The index as it stands, with its first line. Raises InputError if that was written with other settings."""
    settings = json.loads(json.dumps({**asdict(job.options), "landmarks": tools.landmarks is not None}))
    index = read_index(job.target)
    folder = str(job.folder.resolve())
    if index.settings is None or (index.settings == settings and index.folder != folder):
        lines.add({"settings": settings, "folder": folder})
    elif index.settings != settings:
        changed = [name for name in settings if index.settings.get(name) != settings[name]]
        raise InputError(
            f"The footage in {job.target} was prepared with other settings ({', '.join(changed)} changed): delete that "
            "folder, name another cache, or go back to those settings."
        )
    return index


def _summary(target: Path, videos: Sequence[str], prepared: int, options: FootageOptions) -> Summary:
    """Write the report, and raise the errors of a folder in which there is nothing to train on."""
    index = read_index(target)
    reasons = {video: index.videos[video].reason for video in videos if video in index.videos}
    unreadable = {video: reason for video, reason in reasons.items() if reason is not None}
    summary = Summary(index.fates(videos), unreadable, prepared)
    told = {"videos": len(videos), "faces": dict(summary.fates), "unreadable": unreadable}
    with staged(target / REPORT) as path:
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")
    if not summary.fates["kept"]:
        _refuse(summary, len(videos), options)
    return summary


def _refuse(summary: Summary, videos: int, options: FootageOptions) -> None:
    """Say why nothing was kept."""
    broken = len(summary.unreadable)
    first = next(iter(summary.unreadable.values()), "")
    also = f" {broken} of them cannot be read; the first: {first}" if broken else ""
    if not summary.fates:
        raise FaceNotFoundError(
            f"No face was found in any of {videos} videos.{also} Lower the detection threshold, or choose other "
            "footage."
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary.fates.most_common())
    raise InputError(
        f"None of {summary.fates.total()} faces in {videos} videos can be trained on: {reasons}.{also} Use larger or "
        f"more frontal faces, or loosen least_crop ({options.least_crop}), frontal or frames ({options.frames})."
    )


def _outcomes(job: _Job, tools: Tools, videos: Sequence[str], processes: int) -> Iterator[Done]:
    """What becomes of each video, as they are done."""
    if not videos:
        return
    loaded = tools.loaded()  # in this process too: what cannot be loaded is no fault of a video's
    if not processes:
        for video in videos:
            yield _prepare(job, loaded, video)
        return
    waiting = list(reversed(videos))
    while waiting:
        suspects = yield from _in_pool(job, tools, waiting, processes)
        for video in suspects:  # one of them ended its process: each again, alone
            alone = [video]
            if (yield from _in_pool(job, tools, alone, 1)):
                yield VideoOutcome(video, mark_of(job.folder / video), reason=BROKEN), []


def _in_pool(
    job: _Job, tools: Tools, waiting: list[str], processes: int
) -> Generator[Done, None, list[str]]:
    """Work through waiting, from its end, in processes. Returns what was in work when one of them died."""
    context = get_context("spawn")  # the parent may use a GPU and threads, which a fork would not survive
    running: dict[Future[Done], str] = {}
    with ProcessPoolExecutor(processes, context, _set_up, (job, tools)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < 2 * processes:
                    running[pool.submit(_prepare_here, waiting[-1])] = waiting[-1]
                    waiting.pop()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    del running[future]
                    yield result
        except BrokenProcessPool:
            return list(running.values())
        except BaseException:  # whoever interrupts this does not wait for the videos in work
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise
    return []


_work: Callable[[str], Done] | None = None
"""What this process does, if it is one of a pool's."""


def _set_up(job: _Job, tools: Tools) -> None:
    """In a new process of the pool."""
    import cv2
    import torch

    global _work
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback from each process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    loaded = tools.loaded()

    def work(video: str) -> Done:
        return _prepare(job, loaded, video)

    _work = work


def _end_with_parent() -> None:
    """A parent that is killed cannot end its pool, and what is left of it would wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare_here(video: str) -> Done:
    if _work is None:
        raise RuntimeError("this process is no part of a pool")
    return _work(video)


def _prepare(job: _Job, tools: LoadedTools, video: str) -> Done:
    """Go through one video, and write the arrays of its clips."""
    path = job.folder / video
    mark = mark_of(path)
    try:
        found, fates = usable_clips(path, job.options, tools)
        clips = [_store(job, path, video, clip) for clip in found]
    except _StorageError:
        raise
    except (SVFRError, OSError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        return VideoOutcome(video, mark, reason=str(error) or type(error).__name__), []
    return VideoOutcome(video, mark, fates), clips


def _store(job: _Job, path: Path, video: str, clip: UsableClip) -> IndexedClip:
    name = clip_name(video, clip.track)
    if job.options.keep_crops:
        _keep_crops(job, path, name, clip)
        clip = replace(clip, stamps=frame_stamps(VideoClip(crops_path(job.target, name))))
    with _storing():
        save_arrays(job.target, name, clip)
    return IndexedClip(name, video, len(clip))


def _keep_crops(job: _Job, path: Path, name: str, clip: UsableClip) -> None:
    """Write all crops of a clip as one video, a few at a time."""
    side = (clip.size, clip.size)
    with contextlib.ExitStack() as stack:
        with _storing():
            writer = ClipWriter(
                crops_path(job.target, name), VideoClip(path).fps, side, options=VideoOptions(codec="prores")
            )
            stack.enter_context(writer)
        for first in range(0, len(clip), CROPS_AT_ONCE):
            crops = read_crops(path, clip, first, min(first + CROPS_AT_ONCE, len(clip)))
            with _storing():
                for crop in crops:
                    writer.write(crop)


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """What goes wrong in this block ends the preparation."""
    try:
        yield
    except InputError as error:
        raise _StorageError(str(error)) from error

