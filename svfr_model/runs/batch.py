"""Many clips, one after the other or on many workers: what is done is not done again, and a bad one stops no other."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from ..base.errors import FaceNotFoundError, InputError, NotFiniteError, SVFRError, WeightsError
from ..base.progress import Callback
from ..files.digests import Digests
from ..files.lines import LineFile
from .fingerprint import fingerprint
from .loader import Loader, Shelf
from .restore_file import Job, run
from .status import Status
from .stc_file import EnhanceJob, run_enhance

log = logging.getLogger(__name__)

AnyJob: TypeAlias = Job | EnhanceJob
Item = TypeVar("Item")
_LASTING = {error.exit_code for error in (InputError, WeightsError, FaceNotFoundError, NotFiniteError)}
"""Exit codes of what lies in what the fingerprint covers, so that the next start fails in the same way."""


@dataclass(frozen=True)
class BatchClip:
    """One clip of a batch: what is to be done, and how it is called.

    id: its output, as a path below the folder of results. where: what asked for it, for messages. job, loader: what is
    done with what. frames: how many it is said to have, 0 where that is not known.
    """

    id: str
    where: str
    job: AnyJob
    loader: Loader
    frames: int = 0


@dataclass(frozen=True)
class Outcome:
    """How one try ended: 0 and no message where it did well. passing: another try may do better."""

    seconds: float
    exit_code: int = 0
    message: str = ""
    passing: bool = False


@dataclass
class Waiting:
    """The clips that no worker has yet, in order; true while there are any. started is told of each that is taken."""

    clips: deque[BatchClip]
    started: Callable[[BatchClip], None]

    def take(self) -> BatchClip:
        """The next clip, for a worker that is free."""
        clip = self.clips.popleft()
        self.started(clip)
        return clip

    def __bool__(self) -> bool:
        return bool(self.clips)


Workers: TypeAlias = Callable[[Waiting], "Iterator[tuple[BatchClip, Outcome]]"]
"""What restores clips: takes one whenever a worker is free, and gives it with its outcome when that has ended. One that
is to be tried again is waiting once more when the next is asked for."""


def run_job(job: AnyJob, loader: Loader, callback: Callback | None = None) -> None:
    """The run of one clip from file to file. Raises the library's errors."""
    if isinstance(job, Job):
        run(job, loader, callback)
    else:
        run_enhance(job, loader, callback)


def attempt(clip: BatchClip, shelf: Shelf, callback: Callback | None = None) -> Outcome:
    """Run one clip with the networks of a shelf; whatever goes wrong is told, but for what ends the process."""
    begun = time.monotonic()
    try:
        run_job(clip.job, replace(clip.loader, shelf=shelf), callback)
    except SVFRError as error:
        # What the system refused may pass; what we refuse lies in the clip, its options or its weights.
        return Outcome(_since(begun), error.exit_code, str(error), isinstance(error.__cause__, OSError))
    except Exception as error:  # one clip of a thousand must not end the others, whatever it is
        log.debug("%s", clip.id, exc_info=True)
        reason = str(error).strip().splitlines()
        return Outcome(_since(begun), 1, f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}", True)
    return Outcome(_since(begun))


def _status(clip: BatchClip, fingerprint: str, outcome: Outcome, again: bool) -> Status:
    """What a try that has ended leaves behind."""
    return Status(
        id=clip.id,
        fingerprint=fingerprint,
        state="retried" if again else "failed" if outcome.exit_code else "done",
        seconds=outcome.seconds,
        message=outcome.message,
        exit_code=outcome.exit_code,
        lasting=outcome.exit_code in _LASTING and not outcome.passing,
    )


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def workers_here(callback: Callback | None = None) -> Workers:
    """This process as the only worker."""

    def work(waiting: Waiting) -> Iterator[tuple[BatchClip, Outcome]]:
        shelf = Shelf()
        while waiting:
            clip = waiting.take()
            yield clip, attempt(clip, shelf, callback)

    return work


def longest_first(clips: Iterable[Item], length: Callable[[Item], float]) -> list[Item]:
    """Clips in the order that keeps all workers busy to the end; those of unknown length (0), which may be long, first.

    Clips of one length stay in their order.
    """
    return sorted(clips, key=lambda clip: -(length(clip) or float("inf")))


def part_of(clips: Sequence[Item], part: tuple[int, int]) -> list[Item]:
    """One of so many parts, both from 1 on: every n-th clip, so that neighbours, often alike, are shared out."""
    number, count = part
    return list(clips[number - 1 :: count])


@dataclass
class Batch:
    """The clips of a batch, what is known of them, and what comes of them.

    known: the newest status by id. statuses: the file that gets a line whenever something happens. told: called with
    each such line. retries: how often a clip is tried again. retry_failed: also what failed for good before.
    """

    clips: Sequence[BatchClip]
    known: Mapping[str, Status]
    statuses: LineFile
    digests: Digests
    retries: int = 1
    retry_failed: bool = False
    told: Callable[[BatchClip, Status], None] = lambda clip, status: None  # noqa: ARG005
    results: dict[str, Status] = field(default_factory=dict)
    """The last status of every clip that needs no more work, by id."""

    def remaining(self) -> list[BatchClip]:
        """The clips that are still to be restored; the others' results are taken over from before."""
        return [clip for clip in self.clips if not self._settled(clip)]

    def _settled(self, clip: BatchClip) -> bool:
        """Whether a clip was dealt with before, and nothing that it depends on is different now."""
        before = self.known.get(clip.id)
        if before is None or before.state not in ("done", "failed") or before.fingerprint != self._fingerprint(clip):
            return False
        if before.state == "failed" and (self.retry_failed or not before.lasting):
            return False
        if before.state == "done" and not clip.job.target.exists():
            return False
        self.results[clip.id] = before
        return True

    def _fingerprint(self, clip: BatchClip) -> str:
        return fingerprint(clip.job, clip.loader, self.digests).digest

    def run(self, clips: Iterable[BatchClip], workers: Workers) -> None:
        """Let workers restore clips in this order. Raises only what ends the process."""
        tries, prints = Counter[str](), dict[str, str]()

        def started(clip: BatchClip) -> None:
            prints.setdefault(clip.id, self._fingerprint(clip))
            self._tell(clip, Status(clip.id, prints[clip.id], "started"))

        waiting = Waiting(deque(clips), started)
        for clip, outcome in workers(waiting):
            tries[clip.id] += 1
            again = outcome.passing and tries[clip.id] <= self.retries
            status = _status(clip, prints[clip.id], outcome, again)
            if again:
                waiting.clips.append(clip)
            else:
                self.results[clip.id] = status
            self._tell(clip, status)

    def _tell(self, clip: BatchClip, status: Status) -> None:
        self.statuses.add(status.line())
        self.told(clip, status)
