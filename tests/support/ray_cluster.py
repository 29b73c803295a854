"""A real Ray cluster on this machine, with as many cores as a test wants, that ends with the test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

_PROGRAM = """
import logging, ray, sys
context = ray.init(address="local", num_cpus=int(sys.argv[1]), include_dashboard=False, logging_level=logging.ERROR,
                   object_store_memory=80 << 20)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Cluster:
    """address: for --address. environment: of who is let in. process: the one whose children are the cluster's."""

    address: str
    environment: Mapping[str, str]
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        """The processes of our actors."""
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Worker"):
                    found.append(process)
        return found

    def kill_worker(self, command: subprocess.Popen) -> None:
        """Kill a worker as soon as one is at work for a command."""
        while not (found := [process for process in self.workers() if ".run" in process.cmdline()[0]]):
            assert command.poll() is None, f"it ended before any worker was at work:\n{command.stderr.read()}"
            time.sleep(0.05)
        found[0].kill()


@contextlib.contextmanager
def cluster(cores: int) -> Iterator[Cluster]:
    """A cluster of one node, into which only those with its token are let."""
    command = [sys.executable, "-c", _PROGRAM, str(cores)]
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex, "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **given}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        address = process.stdout.readline().strip()
        try:
            assert address, "the cluster did not start"
            yield Cluster(address, environment, psutil.Process(process.pid))
        finally:
            process.stdin.close()
            process.wait(timeout=60)
