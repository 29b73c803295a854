"""The flags of the commands are derived from the options' declarations; what users type stays as it was."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from support.flags import all_flags

from svfr_model.commands import build_parser
from svfr_model.commands.derive import add_options, given, made
from svfr_model.engine.options import ReferrerOptions, RestoreOptions
from svfr_model.engine.presets import PresetOptions
from svfr_model.faces.options import DetectorOptions
from svfr_model.media.options import ReadOptions, VideoOptions
from svfr_model.reports.options import ReportOptions
from svfr_model.runs.options import BatchOptions, DeviceOptions, FaceOptions, PrecisionOptions
from svfr_model.stc.options import EnhanceOptions
from svfr_model.synthesis.options import DegradeOptions, SeedOptions

BEFORE = json.loads((Path(__file__).parent / "data" / "flags.json").read_text())
"""Of version 0.1.0, when every flag was written by hand."""
BY_HAND = {
    "--accept-license", "--clips", "--crops", "--debug-video", "--detector-weights", "--evaluate-stc-tiny",
    "--evaluate-tiny", "--i3d",
    "--identity", "--json", "--keep-crop", "--log-levels", "--mask", "--mask-out", "--no-crop", "--out", "--picture",
    "--presets", "--profile", "--quiet", "--reference", "--stc-tiny", "--task", "--tasks", "--tiny", "--weights",
    "--whole", "--work",
    "config", "input", "output",
    "restored", "role", "roles", "source", "target", "truth",
}  # fmt: skip


def test_flags_defaults_and_choices_are_what_they_were():
    """There may be more of them than there were."""
    found = all_flags(build_parser())
    assert set(BEFORE) <= set(found)
    for command in ("restore", "stc"):  # of all clips of a batch
        alone = {"input", "output", "--quiet"}
        assert found[f"batch {command}"] == {k: v for k, v in found[command].items() if k not in alone}
    for command, flags in BEFORE.items():
        assert {flag: found[command].get(flag) for flag in flags} == flags, command


def test_help_names_defaults_where_there_are_any(capsys):
    for command in ("restore", "stc", "degrade"):
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "None" not in text, command
    assert "(default: 0.0)" in text


def test_a_switch_that_is_on_by_default_is_switched_off():
    options = build_parser().parse_args(["stc", "in.mp4", "out.mp4", "--own-picture", "--window", "12"])
    assert made(EnhanceOptions, options) == EnhanceOptions(window=12, low_frequency=False)
    assert made(EnhanceOptions, build_parser().parse_args(["stc", "in.mp4", "out.mp4"])) == EnhanceOptions()


def test_one_guidance_scale_stands_for_both_and_one_size_for_both_sides():
    options = build_parser().parse_args(["restore", "in.mp4", "out.mp4", "--guidance", "3", "--size", "64"])
    assert made(RestoreOptions, options).guidance == (3.0, 3.0)
    assert made(FaceOptions, options).crop.size == (64, 64)
    options = build_parser().parse_args(["restore", "in.mp4", "out.mp4", "--guidance", "1", "3"])
    assert made(RestoreOptions, options).guidance == (1.0, 3.0)


def test_a_guidance_interval_takes_both_its_ends(capsys):
    options = build_parser().parse_args(["restore", "in.mp4", "out.mp4", "--guidance-sigmas", "0.3", "10"])
    assert made(RestoreOptions, options).guidance_sigmas == (0.3, 10.0)
    with pytest.raises(SystemExit):
        build_parser().parse_args(["restore", "--help"])
    assert "--guidance-sigmas LOW HIGH" in " ".join(capsys.readouterr().out.split())


def test_flags_that_are_given_are_known_though_they_repeat_a_default():
    line = ["restore", "in.mp4", "out.mp4", "--steps", "30", "--guidance-sigmas", "0", "10000", "--windows", "linear"]
    options = build_parser().parse_args(line)
    assert given(RestoreOptions, options) == {"steps", "guidance_sigmas", "name"}
    assert given(RestoreOptions, build_parser().parse_args(["restore", "in.mp4", "out.mp4"])) == set()


def test_no_flag_is_written_by_hand_that_an_option_declares():
    """What is left to the commands: files, and what only a command line has."""
    assert {flag for flags in all_flags(build_parser()).values() for flag in flags} - derived() == BY_HAND


def derived():
    """The flags of all options that have one."""
    groups = (
        PresetOptions, RestoreOptions, ReferrerOptions, FaceOptions, DetectorOptions, DeviceOptions, PrecisionOptions,
        EnhanceOptions, DegradeOptions, SeedOptions, BatchOptions, ReadOptions, VideoOptions, ReportOptions,
    )  # fmt: skip
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    add_options(parser, *groups)
    return {flag for action in parser._actions for flag in action.option_strings}
