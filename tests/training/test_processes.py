"""Training on footage in two processes, as torchrun starts them: one index, and one model."""

import json
import os
import subprocess
import sys

import pytest
from support.random_networks import write_random_weights

from svfr_model.base.clip import ArrayClip
from svfr_model.media import write_clip
from svfr_model.synthesis.clips import make_clip
from svfr_model.training.loop import read_losses

pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")

PROGRAM = """
import os
import sys
from svfr_model.training import loop
from svfr_model.training.train import train_from_file

averaged = loop.Loop.averaged


def told(self):
    averaged(self)
    total = sum(float(weights.double().sum()) for weights in self.average)
    print("rank", os.environ["RANK"], repr(total), repr(float(self.plain("objective").negatives.views.double().sum())))


loop.Loop.averaged = told
if __name__ == "__main__":
    train_from_file(sys.argv[1])
"""


def run(root, tmp_path, **changes):
    (tmp_path / "program.py").write_text(PROGRAM)
    values = {
        "output": str(tmp_path / "out"),
        "weights": str(tmp_path / "weights"),
        "videos": str(tmp_path / "videos"),
        "window": 4,
        "weight_prior": 0,
        "workers": 1,
        "loop": {"steps": 2, "warmup": 0, "accumulate": 2},
        "footage": {"size": 64, "least_crop": 48, "frames": 6},
        **changes,
    }
    (tmp_path / "c.json").write_text(json.dumps(values))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*command, str(tmp_path / "program.py"), str(tmp_path / "c.json")],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture
def footage(tmp_path):
    for name in ("videos", "weights"):
        (tmp_path / name).mkdir()
    write_random_weights(tmp_path / "weights", 3)
    for number in range(2):
        write_clip(tmp_path / "videos" / f"{number}.mp4", ArrayClip(make_clip(number, 8, 192).frames))
    return tmp_path


def test_two_processes_make_one_index_and_one_model(root, footage):
    ran = run(root, footage)
    assert ran.returncode == 0, ran.stderr[-3000:]
    out = footage / "out"
    lines = [json.loads(line) for line in (out / "footage" / "clips.jsonl").read_text().splitlines()]
    assert [line["video"] for line in lines if "mark" in line] == ["0.mp4", "1.mp4"]
    assert sum("settings" in line for line in lines) == 1
    assert len(list((out / "footage" / "clips").glob("*.npz"))) == sum("clip" in line for line in lines) == 2
    assert [row["step"] for row in read_losses(out)] == [0, 1]
    told = {line.split()[1]: line.split()[2:] for line in ran.stdout.splitlines() if line.startswith("rank")}
    assert told["0"] == told["1"], "both have the same weights, and the same queue"
    assert float(told["0"][1]) != 0
    assert (out / "unet.safetensors").is_file()


def test_what_stops_the_first_process_stops_both(root, footage):
    """Without any face there is nothing to wait for."""
    for path in (footage / "videos").iterdir():
        path.write_bytes(b"no video")
    ran = run(root, footage)
    assert ran.returncode != 0
    assert ran.stderr.count("FaceNotFoundError: No face was found in any of 2 videos") >= 2
