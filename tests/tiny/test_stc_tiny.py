"""stc-tiny steadies: a few held-out clips through the path that users take, with margins to the measured table."""

import json

import pytest
from safetensors import safe_open

from svfr_model.stc.load import ROLES, load_stc
from svfr_model.tiny.evaluate import HELD_OUT
from svfr_model.tiny.stc import STC_FOLDER
from svfr_model.tiny.stc_evaluate import evaluate_task
from svfr_model.weights import embedded_set, find

CLIPS, FRAMES = 2, 24


def measured(task):
    network = load_stc(find(ROLES[task], [STC_FOLDER]), task)
    return evaluate_task(network, range(HELD_OUT, HELD_OUT + CLIPS), FRAMES)


def test_brightness_flicker_falls_to_a_third():
    before, after = measured("deflicker")
    assert before.brightness > 5
    assert after.brightness < before.brightness / 3
    assert after.pixels < 0.6 * before.pixels


def test_pixel_flicker_falls():
    before, after = measured("deflicker_sd")
    assert after.pixels < 0.6 * before.pixels


def test_the_files_are_small_and_say_what_they_are():
    files = sorted(STC_FOLDER.glob("*.safetensors"))
    assert len(files) == 3
    assert sum(path.stat().st_size for path in files) < 24e6
    for path in files:
        with safe_open(path, framework="pt") as file:
            stored = json.loads(file.metadata()["svfr_config"])
            assert stored["config"]["residual"] == "frames"
            assert all(file.get_tensor(key).dtype.itemsize == 2 for key in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("task", list(ROLES))
def test_it_is_a_set_that_never_stands_in_unasked(task, tmp_path):
    path = embedded_set("stc-tiny")[ROLES[task]]
    assert path.parent == STC_FOLDER
    with pytest.raises(Exception, match="was not found"):
        find(ROLES[task], [tmp_path])
