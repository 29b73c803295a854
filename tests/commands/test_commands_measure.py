"""The command line's measuring and training side: evaluate, degrade, train."""

import json

import numpy as np
from PIL import Image
from support.files import frames_of, gradient, write

from svfr_model.commands import main


def test_evaluate_prints_a_table_and_writes_only_what_is_asked_for(tmp_path, capsys):
    truth = write(tmp_path / "truth.mkv", gradient(6, 48, 64))
    darker = write(tmp_path / "darker.mkv", [(frame * 0.9).astype(np.uint8) for frame in gradient(6, 48, 64)])
    before = sorted(tmp_path.iterdir())
    command = ["evaluate", str(darker), str(truth), "--weights", str(tmp_path / "none"), "--quiet"]
    assert main(command) == 0
    assert "PSNR" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before
    assert main([*command, "--json", str(tmp_path / "r.json"), "--profile", str(tmp_path / "p.png")]) == 0
    assert 20 < json.loads((tmp_path / "r.json").read_text())["metrics"]["psnr"]["value"] < 40
    assert Image.open(tmp_path / "p.png").size == (6, 48)


def test_degrade_makes_a_repeatable_damaged_clip_and_its_mask(tmp_path, capsys):
    source = write(tmp_path / "in.mkv", gradient(5, 64, 64))
    for name in "ab":
        command = ["degrade", str(source), str(tmp_path / f"{name}.mkv"), "--tasks", "bfr,colorization,inpainting"]
        assert main([*command, "--mask-out", str(tmp_path / f"{name}-mask.mkv"), "--quiet", "--seed", "3"]) == 0
    first, second = frames_of(tmp_path / "a.mkv"), frames_of(tmp_path / "b.mkv")
    assert np.array_equal(first, second)
    mask = frames_of(tmp_path / "a-mask.mkv") > 200
    assert 0 < mask.mean() < 1
    assert first[mask].mean() > 230
    assert np.ptp(first.astype(int), axis=3).mean() < 3
    assert main(["degrade", str(source), str(tmp_path / "c.mkv"), "--mask-out", str(tmp_path / "m.mkv")]) == 2
    assert "needs inpainting" in capsys.readouterr().err


def test_train_refuses_what_it_cannot_read(tmp_path, capsys):
    assert main(["train", str(tmp_path / "absent.json")]) == 2
    assert "absent.json" in capsys.readouterr().err
