"""A batch on a real Ray cluster of two workers gives what one process gives, whatever happens to a worker."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from support.batches import OPTIONS, ends_of, files_of, lines_of, write_clips

from svfr_model.commands import main
from svfr_model.tiny.model import bundled

pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements-batch.txt")
psutil = pytest.importorskip("psutil")

pytestmark = pytest.mark.slow  # the cluster alone takes most of a minute

PATIENCE = 600


@pytest.fixture(scope="module")
def cluster():
    """Two cores, and so two workers of one."""
    from support.ray_cluster import cluster

    with cluster(2) as made:
        yield made


@pytest.fixture(autouse=True)
def one_thread():
    """As the workers have it: other numbers of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arguments(source, results, *options):
    kind = ("restore", "--passes", "1", *OPTIONS, "--weights", str(bundled()))
    return ["batch", str(source), str(results), "--quiet", *options, *kind]


def start(root, cluster, source, results, *options, after=()):
    words = arguments(source, results, "--workers", "ray", "--address", cluster.address, "--cores", "1", *options)
    return subprocess.Popen(
        [sys.executable, "-m", "svfr_model", *words, *after],
        env={**cluster.environment, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )


def finish(process, code):
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    return said


def check_same(one, other, count):
    """The same files, byte for byte, and the same end of every clip."""
    assert files_of(one) == files_of(other)
    assert ends_of(one) == ends_of(other)
    assert len(ends_of(one)) == count


def ended(results):
    return sorted(line["id"] for line in lines_of(results) if line["state"] in ("done", "failed"))


def begun(results):
    return [line["id"] for line in lines_of(results) if line["state"] == "started"]


def compare(root, cluster, folder, count, bad):
    source = write_clips(folder / "in", count, bad)
    assert main(arguments(source, folder / "plain")) == 7
    process = start(root, cluster, source, folder / "ray")
    cluster.kill_worker(process)
    said = finish(process, 7)
    assert f"{bad + 1} of {count} clip(s) failed" in said
    check_same(folder / "plain", folder / "ray", count)
    assert ended(folder / "ray") == sorted({line["id"] for line in lines_of(folder / "plain")})
    retried = [line for line in lines_of(folder / "ray") if line["state"] == "retried"]
    assert [(line["message"], line["exit_code"]) for line in retried] == [("its worker died", 1)]
    assert len(begun(folder / "ray")) == count + 1
    before = (folder / "ray" / "status.jsonl").read_bytes()
    assert main(arguments(source, folder / "ray", "--workers", "ray")) == 7
    assert (folder / "ray" / "status.jsonl").read_bytes() == before
    assert sorted(path.name for path in (folder / "ray").iterdir() if path.name.startswith(".svfr")) == []


def test_two_workers_of_which_one_dies_give_what_one_process_gives(root, cluster, tmp_path):
    compare(root, cluster, tmp_path, 6, 1)


def test_a_signal_ends_the_batch_and_its_workers(root, cluster, tmp_path):
    source = write_clips(tmp_path / "in", 4, 0)
    process = start(root, cluster, source, tmp_path / "out", after=("--steps", "900"))
    while cluster.workers() == [] or begun(tmp_path / "out") == []:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "The same command goes on with the clips that are not done" in finish(process, 130)
    psutil.wait_procs(cluster.workers(), timeout=30)
    assert cluster.workers() == []
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".svfr")] == []


def test_forty_clips_of_which_five_cannot_be_restored(root, cluster, tmp_path):
    compare(root, cluster, tmp_path, 40, 4)


def test_more_cores_than_a_machine_has_are_refused(root, cluster, tmp_path):
    source = write_clips(tmp_path / "in", 1)
    process = start(root, cluster, source, tmp_path / "out", "--cores", "64")
    said = finish(process, 2)
    assert "the 64 cores that a worker is to have; the most is 2" in said
    assert lines_of(tmp_path / "out") == []


def test_a_device_that_no_worker_has_is_refused_at_once(root, cluster, tmp_path):
    source = write_clips(tmp_path / "in", 1)
    said = finish(start(root, cluster, source, tmp_path / "out", after=("--device", "cuda:77")), 2)
    assert "cuda:77" in said
    assert [line["state"] for line in lines_of(tmp_path / "out")] == []
