"""Many clips through the command `batch`, in one process."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from support import odd_files as odd
from support.batches import OPTIONS, ends_of, files_of, lines_of, write_clips
from support.files import gradient, write

from svfr_model.commands import build_parser, main
from svfr_model.runs import batch as batches
from svfr_model.runs import loader as load
from svfr_model.tiny.model import bundled

WHOLE = ("restore", "--no-crop", "--passes", "1", *OPTIONS, "--weights", str(bundled()))
"""No face is needed."""


def run(source, results, *options, kind=WHOLE):
    return main(["batch", str(source), str(results), *options, *kind])


@pytest.fixture
def clips(tmp_path):
    """Three clips of 5, 7 and 6 frames."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, count in (("a", 5), ("b", 7), ("c", 6)):
        write(folder / f"{name}.mp4", gradient(count, 16, 16))
    return folder


@pytest.fixture
def stubbed(monkeypatch):
    """Runs that write a line instead of restoring; `runs` has the ids in order, `faults` what a clip ends by."""

    class Stub:
        runs, faults = [], {}

        def __call__(self, job, loader, callback=None):
            self.runs.append(job.target.name)
            fault = self.faults.get(job.target.name, [])
            if fault:
                raise fault.pop(0)
            job.target.write_text("restored")

    stub = Stub()
    monkeypatch.setattr(batches, "run_job", stub)
    return stub


def test_a_batch_gives_what_single_runs_give_and_loads_networks_once(tmp_path, monkeypatch):
    source = write_clips(tmp_path / "in", 5, 1)
    loaded = []
    for name in ("load_unet", "load_vae"):
        real = getattr(load, name)
        monkeypatch.setattr(load, name, lambda *a, name=name, real=real, **k: loaded.append(name) or real(*a, **k))
    kind = ("restore", "--passes", "1", *OPTIONS, "--weights", str(bundled()))
    assert run(source, tmp_path / "out", "--quiet", kind=kind) == 7
    assert loaded == ["load_unet", "load_vae"]
    states = {name: (end[1], end[3]) for name, end in ends_of(tmp_path / "out").items()}
    good = {f"clip0{number}.mp4": ("done", 0) for number in (0, 1, 3)}
    assert states == {**good, "clip02.mp4": ("failed", 4), "clip04.mp4": ("failed", 2)}
    assert set(files_of(tmp_path / "out")) == set(good)
    last = ends_of(tmp_path / "out").popitem()[0]
    assert main([kind[0], str(source / last), str(tmp_path / last), *kind[1:], "--quiet"]) == 0
    assert (tmp_path / last).read_bytes() == files_of(tmp_path / "out")[last]


def test_status_is_told_as_it_happens_and_a_table_at_the_end(clips, tmp_path, stubbed, capsys):
    (clips / "d.mp4").write_text("no video")
    stubbed.faults["c.mp4"] = [RuntimeError("boom\nmore")] * 2
    assert run(clips, tmp_path / "out") == 7
    lines = lines_of(tmp_path / "out")
    assert [(line["id"], line["state"]) for line in lines] == [
        ("d.mp4", "started"), ("d.mp4", "done"), ("b.mp4", "started"), ("b.mp4", "done"), ("c.mp4", "started"),
        ("c.mp4", "retried"), ("a.mp4", "started"), ("a.mp4", "done"), ("c.mp4", "started"), ("c.mp4", "failed"),
    ]  # fmt: skip
    keys = {"id", "fingerprint", "state", "seconds", "message", "exit_code", "lasting", "time"}
    assert all(set(line) == keys and re.fullmatch("[0-9a-f]{64}", line["fingerprint"]) for line in lines)
    told = capsys.readouterr()
    assert re.search(r"^c\.mp4 +failed +1 +0\.0  RuntimeError: boom$", told.out, re.M)
    assert told.out.rstrip().endswith("3 done, 1 failed")
    assert "1 of 4 clip(s) failed" in told.err
    assert "19/19" in told.err.replace(" ", "")  # 5 + 7 + 6 frames, and 1 for what does not say
    assert "c.mp4: failed" in told.err


def test_what_is_done_is_not_done_again_and_what_changed_is(clips, tmp_path, stubbed):
    out = tmp_path / "out"
    assert run(clips, out) == 0
    assert run(clips, out) == 0
    assert stubbed.runs == ["b.mp4", "c.mp4", "a.mp4"]
    write(clips / "a.mp4", gradient(9, 16, 16))
    (out / "c.mp4").unlink()
    assert run(clips, out) == 0
    assert stubbed.runs[3:] == ["a.mp4", "c.mp4"]
    assert run(clips, out, kind=(*WHOLE, "--seed", "5")) == 0
    assert stubbed.runs[5:] == ["a.mp4", "b.mp4", "c.mp4"]
    assert run(clips, out) == 0
    assert len(stubbed.runs) == 11


def test_a_clip_whose_run_was_killed_is_not_taken_for_done(clips, tmp_path, stubbed):
    out = tmp_path / "out"
    assert run(clips, out) == 0
    with (out / "status.jsonl").open("a") as file:
        killed = {"id": "b.mp4", "fingerprint": "other", "state": "started", "time": "9"}
        file.write(json.dumps(killed) + '\n{"id": "c.')
    assert run(clips, out) == 0
    assert stubbed.runs[3:] == ["b.mp4"]
    assert json.loads((out / "status.jsonl").read_text().splitlines()[-1])["id"] == "b.mp4"


def test_what_fails_for_good_is_tried_once_unless_asked_for(clips, tmp_path, stubbed):
    from svfr_model.base.errors import FaceNotFoundError, InputError

    no_space = InputError("full")
    no_space.__cause__ = OSError(28, "full")
    stubbed.faults |= {"a.mp4": [FaceNotFoundError("none")] * 9, "b.mp4": [no_space] * 9}
    assert run(clips, tmp_path / "out", "--retries", "2") == 7
    assert sorted(stubbed.runs) == ["a.mp4", "b.mp4", "b.mp4", "b.mp4", "c.mp4"]
    del stubbed.runs[:]
    assert run(clips, tmp_path / "out", "--retries", "0") == 7
    assert stubbed.runs == ["b.mp4"]
    assert run(clips, tmp_path / "out", "--retries", "0", "--retry-failed") == 7
    assert stubbed.runs[1:] == ["b.mp4", "a.mp4"]


def test_parts_share_the_clips_out_and_know_of_each_other(clips, tmp_path, stubbed):
    out = tmp_path / "out"
    assert run(clips, out, "--shard", "1/2") == 0
    assert stubbed.runs == ["c.mp4", "a.mp4"]
    assert run(clips, out, "--shard", "2/2") == 0
    assert stubbed.runs[2:] == ["b.mp4"]
    assert sorted(path.name for path in out.glob("status*")) == ["status-1-of-2.jsonl", "status-2-of-2.jsonl"]
    assert run(clips, out) == 0
    assert len(stubbed.runs) == 3


def test_two_runs_at_once_are_refused(clips, tmp_path, stubbed, capsys):
    from svfr_model.files.lines import LineFile

    (tmp_path / "out").mkdir()
    with LineFile(tmp_path / "out" / "status.jsonl"):
        assert run(clips, tmp_path / "out") == 2
        assert run(clips, tmp_path / "out", "--shard", "1/2") == 0
    assert "another run is at work here" in capsys.readouterr().err


MANIFEST = """input,output,steps,no-crop,guidance,command,task
in/a.mp4,x/one.mp4,3,,,,
in/b.mp4,,,false,1.5;2,,
in/c.mp4,,,,,stc,deflicker
"""


def jobs_of(manifest, results, *kind):
    from svfr_model.commands.batch import _clips

    return _clips(build_parser().parse_args(["batch", str(manifest), str(results), *kind]))


def test_a_manifest_says_what_is_done_with_each_clip(clips, tmp_path):
    table, lines = tmp_path / "list.csv", tmp_path / "list.jsonl"
    table.write_text(MANIFEST, encoding="utf-8-sig")
    objects = (
        {"input": "in/a.mp4", "output": "x/one.mp4", "steps": 3},
        {"input": "in/b.mp4", "no_crop": False, "guidance": [1.5, 2]},
        {"input": "in/c.mp4", "command": "stc", "task": "deflicker", "steps": None},
    )
    lines.write_text("\n\n".join(json.dumps(entry) for entry in objects))
    for manifest in (table, lines):
        one, two, three = jobs_of(manifest, tmp_path / "out", *WHOLE)
        assert [clip.id for clip in (one, two, three)] == ["x/one.mp4", "b.mp4", "c.mp4"]
        assert one.job.target == tmp_path / "out" / "x" / "one.mp4"
        assert one.job.source == clips / "a.mp4"
        assert (one.job.options.steps, one.job.faces) == (3, None)
        assert two.job.options.steps == 2
        assert two.job.options.guidance == (1.5, 2.0)
        assert two.job.faces is not None
        assert three.job.tasks == ("deflicker",)


def test_pictures_and_switches_of_a_line_replace_those_for_all(clips, tmp_path):
    manifest = tmp_path / "list.jsonl"
    entries = ({"input": "in/a.mp4"}, {"input": "in/b.mp4", "identity": ["p.png", "q.png"], "weights": "w"})
    manifest.write_text("\n".join(json.dumps(entry) for entry in entries))
    plain, other = jobs_of(manifest, tmp_path / "out", "restore", "--identity", "/x/r.png", "--keep-crop")
    assert [str(path) for path in plain.job.identity] == ["/x/r.png"]
    assert list(other.job.identity) == [tmp_path / "p.png", tmp_path / "q.png"]
    assert plain.job.keep_crop
    assert other.job.keep_crop
    assert other.loader.folders == [tmp_path / "w"]
    manifest.write_text('{"input": "in/a.mp4", "command": "stc", "crops": true}')
    (clip,) = jobs_of(manifest, tmp_path / "out", "stc", "--whole")
    assert clip.job.whole is False


def test_a_person_may_be_a_picture_beside_the_manifest(clips, tmp_path):
    odd.picture()(tmp_path / "anna.png")
    (tmp_path / "list.csv").write_text("input,faces\nin/a.mp4,anna.png\nin/b.mp4,left\n")
    by_picture, by_place = jobs_of(tmp_path / "list.csv", tmp_path / "out")
    assert by_picture.job.faces.person == tmp_path / "anna.png"
    assert by_place.job.faces.choice == "left"


def test_a_folder_holds_videos_and_folders_of_pictures(clips, tmp_path):
    odd.folder(3)(clips / "take.1")
    (clips / "notes.txt").write_text("none")
    (clips / "empty").mkdir()
    (clips / "a.mp4").rename(clips / "a.AVI")
    found = jobs_of(clips, clips / "out")
    assert [(clip.job.source.name, clip.id) for clip in found] == [
        ("a.AVI", "a.mp4"), ("b.mp4", "b.mp4"), ("c.mp4", "c.mp4"), ("take.1", "take_1"),
    ]  # fmt: skip


def test_what_is_checked_does_not_grow_with_the_square_of_the_clips(tmp_path, monkeypatch):
    from svfr_model.commands.batch import _check
    from svfr_model.files import paths

    manifest = tmp_path / "list.csv"
    manifest.write_text("input\n" + "".join(f"in/{number}.mp4\n" for number in range(60)))
    (tmp_path / "out").mkdir()
    pairs = []
    for name in ("_check_apart", "_check_against_inputs"):
        real = getattr(paths, name)
        monkeypatch.setattr(paths, name, lambda *a, real=real: pairs.append(a[-1]) or real(*a))
    _check(jobs_of(manifest, tmp_path / "out", *WHOLE), {})
    assert [entry for entry in pairs if entry] == []
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_tells_how_to_go_on_and_leaves_no_half_result(clips, tmp_path, root):
    out = tmp_path / "out"
    kind = ("restore", "--no-crop", "--passes", "1", "--device", "cpu", "--steps", "999", "--weights", str(bundled()))
    words = [sys.executable, "-m", "svfr_model", "batch", str(clips), str(out), *kind]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.PIPE) as process:
        seen = b""
        while b"denoise" not in seen:
            seen += process.stderr.read1()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert "The same command goes on with the clips that are not done" in said
    assert [(line["id"], line["state"]) for line in lines_of(out)] == [("b.mp4", "started")]
    assert sorted(path.name for path in out.iterdir()) == [".digests-status.jsonl", "status.jsonl"]
