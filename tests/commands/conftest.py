"""Networks and a clip for the commands."""

import shutil
from fractions import Fraction

import pytest
from support.files import gradient, write
from support.random_networks import write_random_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory, request):
    """Tiny random networks; with the real YuNet where it is at hand."""
    folder = tmp_path_factory.mktemp("weights")
    write_random_weights(folder)
    return folder


@pytest.fixture(scope="session")
def face_weights(weights, yunet_path):
    shutil.copy(yunet_path, weights / "face_detection_yunet_2023mar.onnx")
    return weights


@pytest.fixture
def short_clip(tmp_path):
    """Five frames of 64x48 with a moving gradient, 10 fps."""
    return write(tmp_path / "short.mp4", gradient(5, 48, 64), Fraction(10))
