"""Workers on a Ray cluster: one actor for each GPU, or for each so many cores where there is no GPU.

Ray finds them a place, starts them and tells when one has died; here the next clip is handed to whichever is free. What
a worker reads and writes, and this package itself, must lie under the same paths on every machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..base.devices import choose_device, choose_dtype
from ..base.errors import DependencyError, InputError, SVFRError
from ..files.staging import living, remove_leftovers
from ..files.work import remove_dead, work_path
from .batch import BatchClip, Outcome, Waiting, Workers, attempt
from .loader import Shelf
from .options import BatchOptions

log = logging.getLogger(__name__)

Device = tuple[str, str]
"""The options device and dtype."""

_LOOK_SECONDS = 0.5
"""How long Ray is waited for at a time: a signal is heard in between."""
_SETTLE_SECONDS = 2.0
"""How long killed workers may take to be gone."""
_PACKAGE = Path(__file__).resolve().parents[2]


class Worker:
    """What runs as an actor: its networks stay loaded from clip to clip."""

    def __init__(self) -> None:
        self._shelf = Shelf()

    def check(self, devices: Collection[Device]) -> None:
        """Raise InputError for a device or precision that this worker's machine has not."""
        for device, dtype in devices:
            choose_dtype(dtype, choose_device(device))

    def run(self, clip: BatchClip) -> Outcome:
        """See `attempt`."""
        return attempt(clip, self._shelf)


def workers_on_ray(options: BatchOptions, clips: Collection[BatchClip]) -> Workers:
    """The workers of a cluster, for these clips. Raises DependencyError where Ray is not installed."""
    ray = _imported()
    devices = {(clip.loader.device, clip.loader.dtype) for clip in clips}
    folders = {clip.job.target.parent for clip in clips}

    def work(waiting: Waiting) -> Iterator[tuple[BatchClip, Outcome]]:
        with _connected(ray, options.address):
            crew = _Crew(ray, options.cores, len(clips), devices)
            remains = _Remains(clips)
            living.add(remains)
            try:
                yield from crew.work(waiting)
                remains.keep()
            finally:
                crew.dismiss()
                _clean(folders)
                remains.discard()

    return work


class _Remains:
    """The work that workers leave when they are dismissed: removed where the batch was cancelled."""

    def __init__(self, clips: Collection[BatchClip]) -> None:
        self._clips = clips

    def keep(self) -> None:
        """From now on, `discard` leaves it behind."""
        self._clips = ()

    def discard(self) -> None:
        """Remove it, once the workers are gone; may be called at any time, and more than once."""
        give_up = time.monotonic() + _SETTLE_SECONDS
        for clip in self._clips:
            path = work_path(clip.job.target, clip.job.work)
            remove_dead(clip.job.target, clip.job.work)
            while path.exists() and time.monotonic() < give_up:
                time.sleep(_SETTLE_SECONDS / 20)
                remove_dead(clip.job.target, clip.job.work)
        living.discard(self)


def _imported() -> Any:
    # Whatever Ray reports of its use goes nowhere unless the user wants it to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise DependencyError(
            "--workers ray needs the package ray, which is not installed: pip install -r requirements-batch.txt, or "
            "leave --workers out."
        ) from error
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """In a cluster; one that was started for this ends with it. Ray's own handler of SIGTERM is not wanted."""
    before = signal.getsignal(signal.SIGTERM)
    begin = {} if address or os.environ.get("RAY_ADDRESS") else {"address": "local", "include_dashboard": False}
    try:
        ray.init(**({"address": address} if address else begin), logging_level=logging.WARNING)
    except (ConnectionError, ImportError, ValueError, RuntimeError, OSError, AssertionError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"No Ray cluster could be reached at {where} ({reason[0]}). Check the address, or start one with "
            "`ray start --head`. A ray:// address needs the package ray[client]; a cluster that asks for a token needs "
            "RAY_AUTH_MODE=token in the environment."
        ) from error
    try:
        signal.signal(signal.SIGTERM, before)
        yield
    finally:
        ray.shutdown()


def _places(ray: Any, cores: int) -> tuple[int, Mapping[str, Any]]:
    """How many workers the cluster has room for, and what each takes. Raises InputError where it has room for none."""
    nodes = [node["Resources"] for node in ray.nodes() if node.get("Alive", node.get("alive"))]
    gpus = sum(int(resources.get("GPU", 0)) for resources in nodes)
    if gpus:
        return gpus, {"num_gpus": 1, "num_cpus": 0}
    by_cores = sum(int(resources.get("CPU", 0)) // cores for resources in nodes)
    if not by_cores:
        most = max((int(resources.get("CPU", 0)) for resources in nodes), default=0)
        raise InputError(
            f"No machine of the Ray cluster has a GPU, or the {cores} cores that a worker is to have; the most is "
            f"{most}. Give a smaller number of --cores."
        )
    return by_cores, {"num_cpus": cores}


class _Crew:
    """The workers, by what they are at: on the way, free, or at work on a clip."""

    def __init__(self, ray: Any, cores: int, most: int, devices: Collection[Device]) -> None:
        self._ray, self._devices = ray, list(devices)
        count, share = _places(ray, cores)
        self._count = min(count, most)
        self._kind = ray.remote(Worker).options(**share, runtime_env={"env_vars": _variables(cores)})
        self._coming: dict[Any, Any] = {}
        self._free: list[Any] = []
        self._busy: dict[Any, tuple[Any, BatchClip, float]] = {}

    def _hire(self) -> None:
        """Ask for workers until there are as many as there should be."""
        while len(self._coming) + len(self._free) + len(self._busy) < self._count:
            worker = self._kind.remote()
            self._coming[worker.check.remote(self._devices)] = worker

    def work(self, waiting: Waiting) -> Iterator[tuple[BatchClip, Outcome]]:
        """Hand out clips until none is left; one whose worker died counts as a try that may go better."""
        while waiting or self._busy:
            if waiting:
                self._hire()
            while waiting and self._free:
                worker, clip = self._free.pop(), waiting.take()
                self._busy[worker.run.remote(clip)] = worker, clip, time.monotonic()
            ready, _ = self._ray.wait([*self._coming, *self._busy], timeout=_LOOK_SECONDS)
            for ref in ready:
                if ref in self._coming:
                    self._welcome(ref)
                else:
                    yield self._ended(ref)

    def _welcome(self, ref: Any) -> None:
        """A worker is there. Raises what it says of its machine, and DependencyError where it could not be started."""
        worker = self._coming.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, SVFRError) else _unable(error) from error
        except self._ray.exceptions.RayError as error:
            raise _unable(error) from error
        self._free.append(worker)

    def _ended(self, ref: Any) -> tuple[BatchClip, Outcome]:
        worker, clip, begun = self._busy.pop(ref)
        try:
            outcome: Outcome = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:  # such as an answer that cannot be sent
            outcome = Outcome(round(time.monotonic() - begun, 3), 1, _last_line(error), True)
        except self._ray.exceptions.RayError as error:
            log.warning("%s: its worker died, and another takes its place (%s)", clip.id, _last_line(error))
            return clip, Outcome(round(time.monotonic() - begun, 3), 1, "its worker died", True)
        self._free.append(worker)
        return clip, outcome

    def dismiss(self) -> None:
        """End all workers, whatever they are at."""
        at_work = [worker for worker, _, _ in self._busy.values()]
        for worker in [*self._coming.values(), *self._free, *at_work]:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker)


def _variables(cores: int) -> dict[str, str]:
    """The environment of a worker: where its modules are, and how many threads it has."""
    paths = os.pathsep.join([str(_PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(cores)}


def _unable(error: Exception) -> DependencyError:
    return DependencyError(
        f"A worker could not be started on the Ray cluster ({_last_line(error)}). Its machines need the same Python "
        f"and packages as this one, and this package under {_PACKAGE}."
    )


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _clean(folders: Collection[Path]) -> None:
    """Remove what killed workers have staged, once they are gone."""
    give_up = time.monotonic() + _SETTLE_SECONDS
    for folder in folders:
        while remove_leftovers(folder) and time.monotonic() < give_up:
            time.sleep(_SETTLE_SECONDS / 20)
