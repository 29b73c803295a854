"""The table tool: ours is what `evaluate` measures, theirs is what the papers state, and each is called so."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from svfr_model.base.clip import ArrayClip
from svfr_model.media.pictures import write_picture
from svfr_model.metrics import evaluate


@pytest.fixture(scope="module")
def clips():
    random = np.random.default_rng(5)
    return {name: random.integers(0, 256, (2, 2, 32, 32, 3), dtype=np.uint8) for name in ("first", "second")}


@pytest.fixture
def folders(tmp_path, clips):
    for name, pair in clips.items():
        for kind, frames in zip(("restored", "truth"), pair, strict=True):
            (tmp_path / kind / name).mkdir(parents=True)
            for index, frame in enumerate(frames):
                write_picture(tmp_path / kind / name / f"{index}.png", frame)
    return tmp_path


def run(root, folders, *more):
    command = [sys.executable, root / "benchmarks" / "paper_tables.py", folders / "truth", "--device", "cpu"]
    command += ["--restored", folders / "restored", "--weights", folders, *more]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_ours_stands_beside_theirs(root, folders, clips):
    done = run(root, folders)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    ours = [line.split() for line in lines if line.startswith("ours, measured")]
    values = [evaluate(ArrayClip(restored), ArrayClip(truth)).values for restored, truth in clips.values()]
    psnr, ssim = (np.mean([value[key] for value in values]) for key in ("psnr", "ssim"))
    assert [row[2:5] for row in ours] == [[f"{psnr:.4f}", f"{ssim:.4f}", "-"]] * 2
    assert any(line.split()[:2] == ["BFVR-STC", "27.47"] for line in lines)
    assert any("29.563" in line and "SVFR" in line for line in lines)
    assert "not measured here" in done.stdout
    assert "on 2 clip(s)" in done.stdout
    assert "4 frames in all, of 32x32 (BFVR-STC measures at 512x512)" in done.stdout
    assert "Not computed: FVD: the path" in done.stdout


def test_frames_are_cut_where_asked(root, folders):
    done = run(root, folders, "--frames", "1", "--task", "colorization")
    assert "2 frames in all" in done.stdout
    assert "23.079" in done.stdout
    assert "BFVR-STC, table 1" not in done.stdout


def test_a_missing_clip_is_named(root, folders):
    (folders / "restored" / "second").rename(folders / "elsewhere")
    done = run(root, folders)
    assert done.returncode == 2
    assert "holds no second" in done.stderr
    assert "Traceback" not in done.stderr
