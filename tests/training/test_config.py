"""Configurations: what they hold comes back, and every mistake is named before anything is loaded."""

import json

import pytest

from svfr_model.base.errors import InputError
from svfr_model.training.config import TrainConfig, dump_config, load_config, parse_config
from svfr_model.training.loop import LoopOptions


def test_defaults_are_the_papers():
    config = parse_config({"output": "o", "weights": "w", "clips": 2})
    assert (config.weight_ulr, config.weight_prior) == (0.01, 0.1)
    assert (config.footage.least_crop, config.footage.frontal) == (512, (0.4, 2.5))
    assert (config.low_quality.sigma, config.low_quality.crf) == ((2.0, 5.0), (18, 25))


def test_a_configuration_survives_writing_and_reading(tmp_path):
    config = TrainConfig("o", "w", clips=3, loop=LoopOptions(steps=7, rate=0.5))
    path = tmp_path / "c.json"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_toml_and_json_agree(tmp_path):
    pytest.importorskip("tomllib", reason="TOML needs Python 3.11")
    (tmp_path / "c.toml").write_text('output = "o"\nweights = "w"\nclips = 2\n[low_quality]\nsigma = [1, 3]\n')
    values = {"output": "o", "weights": "w", "clips": 2, "low_quality": {"sigma": [1, 3]}}
    (tmp_path / "c.json").write_text(json.dumps(values))
    assert load_config(tmp_path / "c.toml") == load_config(tmp_path / "c.json")


BASE = {"output": "o", "weights": "w", "clips": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 3}, "unknown settings: stepz"),
        ({"loop": {"lr": 3}}, "loop has unknown settings: lr"),
        ({"loop": {"steps": "many"}}, "steps must be a whole number, at least 1, not 'many'"),
        ({"fresh": 1}, "fresh must be true or false, not 1"),
        ({"window": True}, "window must be a whole number, at least 4 frames, not True"),
        ({"low_quality": {"crf": [18.5, 25]}}, "crf"),
        ({"low_quality": {"sigma": [1, 2, 3]}}, "sigma"),
        ({"low_quality": {"codec": "vp9"}}, "vp9"),
        ({"loop": 5}, "must be a table"),
        ({"window": 2}, "window must be a whole number, at least 4 frames, not 2"),
        ({"drop_both": 1.5}, "drop_both"),
        ({"weight_prior": -1}, "weight_prior must be a number, at least 0, not -1"),
        ({"fresh": True, "lora_rank": 4}, "lora_rank"),
        ({"videos": "v"}, "1k3d68"),
        ({"videos": "v", "weight_prior": 0, "window": 32}, "raise footage.frames"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(InputError, match=message):
        parse_config({**BASE, **change})


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="weights"):
        parse_config({"output": "o"})


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_config(tmp_path / "none.json")
    (tmp_path / "c.yaml").write_text("a: 1")
    with pytest.raises(InputError, match=r"\.toml"):
        load_config(tmp_path / "c.yaml")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "c.json")
