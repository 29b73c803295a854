"""Commands that are killed (SIGKILL) in each of their phases, and started again: the same bytes, and nothing left."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.dying import killed, signalled
from support.files import write
from support.random_networks import write_random_stc_weights

from svfr_model.commands import main
from svfr_model.files.work import MANIFEST, work_path
from svfr_model.runs import stc_clip
from svfr_model.synthesis.clips import make_clip
from svfr_model.tiny.evaluate import HELD_OUT
from svfr_model.tiny.model import bundled
from svfr_model.weights import embedded

if sys.platform == "win32":
    pytest.skip("Windows has no SIGKILL", allow_module_level=True)

OPTIONS = (
    "--steps", "3", "--first-steps", "2", "--size", "64", "--decode-chunk", "4", "--decode-overlap", "1",
    "--device", "cpu",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """As the killed processes have it: other numbers of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def one_thread_in_processes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two shots, of 9 and 7 frames."""
    shots = [make_clip(HELD_OUT + 800_000 + seed, count, 64, view=1.5).frames for seed, count in ((1, 9), (5, 7))]
    return write(tmp_path_factory.mktemp("source") / "in.mp4", [frame for shot in shots for frame in shot])


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    """What a run gives that nobody kills."""
    torch.set_num_threads(1)
    target = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
    assert main(words(source, target)) == 0
    assert [path.name for path in target.parent.iterdir()] == ["out.mp4"]
    return target.read_bytes()


def words(source, target, *more):
    return ["restore", str(source), str(target), *OPTIONS, "--weights", str(bundled()), *more]


PHASES = {
    "find": ("detect", 1),
    "cut": ("crop", 4),
    "first pass": ("first windows", 2),
    "second pass": ("windows", 3),
    "second pass of the second shot": ("denoise", 5),
    "decode": ("decode", 2),
    "paste": ("paste", 3),
}


QUICK = ("first pass", "second pass", "paste")
"""Each takes a process; the others are marked as slow."""


@pytest.mark.parametrize(
    "phase", [phase if phase in QUICK else pytest.param(phase, marks=pytest.mark.slow) for phase in PHASES]
)
def test_a_run_killed_in_a_phase_comes_to_the_same_bytes(source, undisturbed, tmp_path, capsys, phase):
    target = tmp_path / "out.mp4"
    killed(words(source, target), *PHASES[phase])
    assert not target.exists()
    assert (work_path(target, None) / MANIFEST).is_file()
    assert main(words(source, target)) == 0
    assert target.read_bytes() == undisturbed
    assert "a killed run has left its work, which goes on" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_signal_of_the_system_ends_a_run_but_keeps_its_work(source, undisturbed, tmp_path, capsys, name):
    """A job queue at its limit, a machine that goes down, a terminal that was lost: nobody has given up the work."""
    target = tmp_path / "out.mp4"
    said = signalled(words(source, target), "denoise", 2, name, 128 + getattr(signal, name))
    assert f"interrupted; nothing was written. The work on {target} is kept: the same command goes on with it" in said
    assert [path.name for path in tmp_path.iterdir()] == [work_path(target, None).name]
    assert main(words(source, target)) == 0
    assert target.read_bytes() == undisturbed
    assert "a killed run has left its work, which goes on" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.fixture
def left(source, undisturbed, tmp_path):
    """The target of a run that was killed in its second pass."""
    target = tmp_path / "out.mp4"
    killed(words(source, target), "denoise", 2)
    return target


def test_another_option_source_or_weights_file_is_named_and_nothing_is_mixed(source, left, tmp_path, capsys):
    weights = tmp_path / "weights"
    shutil.copytree(bundled(), weights)
    with safe_open(weights / "unet.safetensors", "pt") as file:  # the same network, in a file that is not the same
        metadata = file.metadata()
    tensors = load_file(weights / "unet.safetensors")
    save_file(tensors, weights / "unet.safetensors", {**metadata, "note": "another"})
    other = write(tmp_path / "other.mp4", list(make_clip(HELD_OUT + 800_002, 5, 64, view=1.5).frames))
    changed = words(other, left, "--seed", "5")
    changed[changed.index(str(bundled()))] = str(weights)
    assert main(changed) == 0
    told = capsys.readouterr().err
    for said in ("source (other content)", "seed (77, now 5)", "weights unet (other content)", "done anew"):
        assert said in told, said
    changed[2] = str(tmp_path / "alone.mp4")
    assert main(changed) == 0
    assert left.read_bytes() == (tmp_path / "alone.mp4").read_bytes()


@pytest.mark.slow
def test_work_elsewhere_is_found_there(source, undisturbed, tmp_path):
    target, place = tmp_path / "out.mp4", tmp_path / "work"
    place.mkdir()
    killed(words(source, target, "--work", str(place)), "denoise", 2)
    assert [path.name for path in place.iterdir()] == [work_path(target, place).name]
    manifest = json.loads((work_path(target, place) / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["output"] == str(target)
    assert main(words(source, target, "--work", str(place))) == 0
    assert target.read_bytes() == undisturbed
    assert list(place.iterdir()) == []


def test_a_disk_that_is_too_small_is_refused_before_anything_is_restored(source, tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("svfr_model.files.mapped.shutil.disk_usage", lambda _: usage._replace(free=150_000))
    monkeypatch.setattr("svfr_model.runs.restore_file.restore_track", lambda *_: pytest.fail("it restores"))
    assert main(words(source, tmp_path / "out.mp4")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"the work needs 0\.[34] MB here for the crops and latents .*, but 0\.1 MB are free", said)
    assert "Free some space, or let the work lie on another disk (--work)" in said
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_run_leaves_nothing(source, tmp_path, monkeypatch):
    def told(stage, done, total, preview=None):
        if stage == "denoise":
            raise KeyboardInterrupt

    monkeypatch.setattr("svfr_model.commands.restore.progress", lambda quiet: told)
    assert main(words(source, tmp_path / "out.mp4")) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_log_of_levels_goes_on_too(source, undisturbed, tmp_path, capsys):
    target, log = tmp_path / "out.mp4", tmp_path / "levels.json"
    more = ("--log-levels", str(log))
    assert main(words(source, target, *more)) == 0
    whole = log.read_bytes()
    assert len(json.loads(whole)) == 2 * (2 + 3)
    log.unlink()
    killed(words(source, target, *more), "denoise", 2)
    assert main(words(source, target, *more)) == 0
    assert "a killed run has left its work, which goes on" in capsys.readouterr().err
    assert log.read_bytes() == whole
    assert target.read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["levels.json", "out.mp4"]


@pytest.mark.parametrize("phase", [("enhance", 2), pytest.param(("paste", 3), marks=pytest.mark.slow)])
def test_stc_goes_on_with_the_track_it_was_at(source, tmp_path, monkeypatch, capsys, phase):
    weights = tmp_path / "weights"
    weights.mkdir()
    write_random_stc_weights(weights)
    shutil.copy(embedded("yunet"), weights)
    plain, target = tmp_path / "plain" / "out.mp4", tmp_path / "killed" / "out.mp4"
    for path in (plain, target):
        path.parent.mkdir()
    line = ["stc", str(source), str(target), "--weights", str(weights), "--device", "cpu"]
    killed(line, *phase)
    assert main([*line[:2], str(plain), *line[3:]]) == 0
    enhanced = []
    real = stc_clip.enhance_crops
    monkeypatch.setattr(stc_clip, "enhance_crops", lambda *a, **k: enhanced.append(len(a[1])) or real(*a, **k))
    assert main(line) == 0
    assert enhanced == ([7] if phase[0] == "enhance" else []), "only the second shot"
    assert target.read_bytes() == plain.read_bytes()
    assert "a killed run has left its work, which goes on" in capsys.readouterr().err
    assert [path.name for path in target.parent.iterdir()] == ["out.mp4"]


def test_a_batch_that_is_killed_goes_on_with_the_clip_at_work(source, undisturbed, tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copyfile(source, folder / "in.mp4")
    line = ["batch", str(folder), str(tmp_path / "results"), *words(source, source)[:1], *words(source, source)[3:]]
    killed(line, "denoise", 2)
    assert work_path(tmp_path / "results" / "in.mp4", None).is_dir()
    assert main(line) == 0
    assert "a killed run has left its work, which goes on" in capsys.readouterr().err
    assert (tmp_path / "results" / "in.mp4").read_bytes() == undisturbed
    assert not [path for path in (tmp_path / "results").iterdir() if path.name.startswith(".svfr")]
