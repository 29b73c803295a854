"""BFVR-STC from file to file through the command line, with a reduced random network."""

import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch

from svfr_model.commands import main
from svfr_model.media import ClipWriter, open_clip
from svfr_model.media.options import VideoOptions
from svfr_model.stc.load import ROLES
from svfr_model.stc.network import TASKS, build_network
from svfr_model.weights import save, weight_file

REDUCED = {
    "img_size": 64,
    "nf": 32,
    "ch_mult": [1, 1, 1, 2],
    "emb_dim": 32,
    "codebook_size": 32,
    "n_layers": 1,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stc")
    torch.manual_seed(0)
    for task in TASKS:
        path = (folder / weight_file(ROLES[task]).name).with_suffix(".safetensors")
        save(build_network(task, REDUCED), path, ROLES[task], REDUCED)
    return folder


def stc(source, target, folder, *options):
    return main(["stc", str(source), str(target), "--weights", str(folder), "--device", "cpu", "--quiet", *options])


def frames_of(path):
    return np.stack(list(open_clip(path)))


def write(path, frames, fps=Fraction(25)):
    with ClipWriter(path, fps, (frames[0].shape[1], frames[0].shape[0]), options=VideoOptions(crf=0)) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.fixture
def flickering(tmp_path):
    """Thirty frames of 96x80 whose brightness jumps, 10 fps."""
    random = np.random.default_rng(0)
    picture = random.uniform(60, 160, (80, 96, 3))
    return write(tmp_path / "in.mkv", [(picture * g).astype(np.uint8) for g in random.uniform(0.7, 1.4, 30)], 10)


def test_real_clip_keeps_frames_rate_and_background(real_clip, yunet_path, weights, tmp_path):
    shutil.copy(yunet_path, weights / "face_detection_yunet_2023mar.onnx")
    assert stc(real_clip, tmp_path / "out.mp4", weights) == 0
    clip = open_clip(tmp_path / "out.mp4")
    assert (len(clip), clip.fps, clip.width, clip.height) == (85, 25, 128, 128)
    change = np.abs(frames_of(real_clip).astype(int) - frames_of(tmp_path / "out.mp4"))
    assert change[:, 50:90, 50:90].mean() > 5
    assert change[:, :12, :12].mean() < 3


def test_whole_frames_are_the_default_to_deflicker_and_keep_size_and_rate(weights, flickering, tmp_path):
    assert stc(flickering, tmp_path / "out.mp4", weights, "--task", "deflicker") == 0
    clip = open_clip(tmp_path / "out.mp4")
    assert (len(clip), clip.fps, clip.width, clip.height) == (30, 10, 96, 80)
    assert np.abs(frames_of(flickering).astype(int) - frames_of(tmp_path / "out.mp4")).mean() > 1


def test_tasks_are_chained_in_their_order(weights, flickering, tmp_path):
    orders = ("deflicker,bfr", "bfr,deflicker", "bfr")
    for number, order in enumerate(orders):
        assert stc(flickering, tmp_path / f"{number}.mkv", weights, "--whole", "--own-picture", "--task", order) == 0
    first, second, third = (frames_of(tmp_path / f"{number}.mkv").astype(int) for number in range(3))
    assert np.abs(first - second).max() > 3
    assert np.abs(first - third).max() > 3


def test_same_input_same_bytes(weights, flickering, tmp_path):
    for name in "ab":
        assert stc(flickering, tmp_path / f"{name}.mp4", weights, "--task", "deflicker_sd") == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--task", "sharpen"), 2, "Unknown BFVR-STC task sharpen"),
        (("--task", "bfr", "--whole", "--window", "7"), 2, "A window of 7 frames cannot overlap by 8"),
        (("--task", "bfr", "--whole", "--window", "9"), 2, "multiples of 2"),
    ],
)
def test_bad_options_are_named(weights, flickering, tmp_path, capsys, options, code, message):
    assert stc(flickering, tmp_path / "out.mp4", weights, *options) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_missing_checkpoint_names_its_source(flickering, tmp_path, capsys):
    assert stc(flickering, tmp_path / "out.mp4", tmp_path, "--task", "deflicker") == 3
    message = capsys.readouterr().err
    assert "ckpt-defilcker.pth" in message
    assert "github.com/Dixin-Lab/BFVR-STC/releases/download/init/ckpt-defilcker.pth" in message


def test_frames_below_64_pixels_are_refused(weights, tmp_path, capsys):
    source = write(tmp_path / "in.mkv", [np.zeros((60, 80, 3), np.uint8)] * 3)
    assert stc(source, tmp_path / "out.mp4", weights, "--whole") == 2
    assert "64" in capsys.readouterr().err


def test_one_frame_in_one_frame_out(weights, tmp_path):
    source = write(tmp_path / "in.mkv", [np.full((64, 64, 3), 90, np.uint8)])
    assert stc(source, tmp_path / "out.png", weights, "--whole") == 0
    assert len(open_clip(tmp_path / "out.png")) == 1
