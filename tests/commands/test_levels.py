"""Presets, noise levels and their log on the command line."""

import csv
import json

import pytest

from svfr_model.commands import main
from svfr_model.engine.options import RestoreOptions


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("--preset exact", {}),
        ("--preset reference", {"first_steps": 50, "decode_overlap": 0}),
        ("--preset balanced", {"levels": "log-8", "guidance_sigmas": (0.3, 10.0)}),
        ("--preset fast", {"levels": "log-5", "first_levels": "few-3", "guidance_sigmas": (0.3, 10.0)}),
        ("--preset preview", {"levels": "few-3", "passes": 1}),
        ("--preset preview --passes 2", {"levels": "few-3"}),
        ("--preset balanced --steps 30", {"guidance_sigmas": (0.3, 10.0)}),
        ("--steps 12 --preset exact", {"steps": 12}),
        ("--preset fast --levels 9,3 --guidance-sigmas 0 10000", {"levels": "9,3", "first_levels": "few-3"}),
        ("--preset balanced --guidance-sigmas 0 10000 --decode-overlap 2", {"levels": "log-8", "decode_overlap": 2}),
        ("--levels 700,3 --first-steps 4", {"levels": "700,3", "first_steps": 4}),
    ],
)
def test_a_flag_that_is_given_overrules_the_preset(flags, wanted, monkeypatch):
    seen = []
    monkeypatch.setattr("svfr_model.runs.restore_file.run", lambda job, *_: seen.append(job) or [])
    assert main(["restore", "in.mp4", "out.mp4", "--quiet", *flags.split()]) == 0
    assert seen[0].options == RestoreOptions(**wanted)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--levels 700,3 --schedule simple", "--levels replaces --schedule: leave one of them out"),
        ("--first-levels 700,3 --first-steps 2", "--first-levels replaces --first-steps: leave one of them out"),
        ("--levels 700,3 --strength 0.4", "leaves none of 2 steps"),
    ],
)
def test_levels_that_contradict_other_flags_are_refused(flags, message, capsys):
    assert main(["restore", "absent.mp4", "out.mp4", *flags.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_the_log_of_levels_has_a_line_for_each_step(weights, short_clip, tmp_path, capsys, suffix):
    log = tmp_path / f"levels.{suffix}"
    options = ("--weights", str(weights), "--device", "cpu", "--no-crop", "--preset", "preview")
    assert main(["restore", str(short_clip), str(tmp_path / "out.mp4"), *options, "--log-levels", str(log)]) == 0
    assert f"wrote {log}" in capsys.readouterr().out
    with log.open(newline="") as file:
        rows = json.load(file) if suffix == "json" else list(csv.DictReader(file))
    assert [(float(row["sigma"]), row["phase"], int(row["step"]), int(row["frames"])) for row in rows] == [
        (700.0, "main", 1, 5),
        (3.0, "main", 2, 5),
        (0.5, "main", 3, 5),
    ]
    assert rows[0]["mean"] in (None, "")
    assert all(0 < float(row["mean"]) < float(row["most"]) for row in rows[1:])
    assert len(log.read_text().splitlines()) == {"json": 3, "csv": 4}[suffix]
