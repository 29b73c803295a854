"""An evening in one server: fifty prompts of changing clips and tasks, one in ten cancelled, leave nothing behind."""

from __future__ import annotations

import itertools
import json
import time

import psutil
import pytest
from support.comfy import running_server
from support.events import listen
from support.graphs import graph_of, run, said, write_clip, write_painted
from support.random_networks import write_random_stc_weights, write_random_weights
from support.workflows import node_of

from svfr_model.media import open_clip

PROMPTS, CANCELLED = 50, 10
GRAPHS = ("04", "06", "10", "11", "07")
LENGTHS = (8, 12, 17)
WARM = 10
"""Prompts after which every graph has run twice with and without a cancel before it."""


@pytest.fixture(scope="module")
def evening(comfyui, tmp_path_factory, portrait_clip):
    """A server that keeps the results of the last prompt only; by default ComfyUI keeps what memory has room for."""
    base = tmp_path_factory.mktemp("evening")
    models, inputs = base / "models" / "svfr", base / "input"
    models.mkdir(parents=True)
    inputs.mkdir()
    write_random_weights(models)
    write_random_stc_weights(models)
    frames = [frame for _, frame in zip(range(max(LENGTHS)), open_clip(portrait_clip), strict=False)]
    for length in LENGTHS:
        write_clip(inputs / f"clip{length}.mp4", frames[:length])
    write_painted(inputs / "frame.png", frames[0])
    write_painted(inputs / "portrait.png", frames[-1], painted=False)
    with running_server(comfyui, base, "--cache-classic", "--preview-method", "latent2rgb") as running:
        yield running


def held(server):
    """Resident bytes, threads and open files of the server's process.

    The least of a second: the connections that were asking how the prompt fares are closed a moment after it.
    """
    process, found = psutil.Process(server.process.pid), []
    for _ in range(10):
        time.sleep(0.1)
        found.append((process.memory_info().rss, process.num_threads(), process.num_fds()))
    return tuple(map(min, *found))


def cancel(comfyui, server, graph):
    """Run a graph of many steps until its sampler has begun."""
    sampler = node_of(graph, "SVFRRestore")
    graph[sampler]["inputs"].update(preset="custom", steps=1000, first_steps=1000)
    events = listen(comfyui, server, graph, "--interrupt", sampler, "svfr.preview")
    assert events[-1][1] == "execution_interrupted"


@pytest.mark.slow
def test_fifty_prompts_leave_no_memory_thread_or_file_behind(comfyui, evening, record_property):
    """Between the tenth and the fiftieth prompt: resident memory within 5 percent, no thread and no file more."""
    measured, object_info = {}, json.loads(evening.get("/object_info"))
    clips = itertools.cycle(LENGTHS)
    for number, name in zip(range(1, PROMPTS + 1), itertools.cycle(GRAPHS), strict=False):
        clip = f"clip{next(clips)}.mp4"
        if number % CANCELLED == 0:
            cancel(comfyui, evening, graph_of("04", object_info, clip, **{"SVFRRestore.seed": number}))
        else:
            history = run(evening, graph_of(name, object_info, clip, seed=number))
            assert history["status"]["status_str"] == "success", (name, said(history))
        measured[number] = held(evening)
    memory, threads, files = zip(*(measured[number] for number in (WARM, PROMPTS)), strict=True)
    told = {
        number: f"{rss / 2**20:.0f} MiB, {threads} threads, {files} files"
        for number, (rss, threads, files) in measured.items()
    }
    record_property("measured", str(told))
    print("\n".join(f"after {number}: {line}" for number, line in told.items()))  # noqa: T201 - the figures are the result
    assert memory[1] < memory[0] * 1.05, told
    assert threads[1] <= threads[0], told
    assert files[1] <= files[0], told
