"""Every template opened and run in the page, and looked at in SVFR Compare: an hour on a busy machine.

`make test-frontends` does so with each of the frontends that the pack is made for.
"""

from __future__ import annotations

import pytest
from support.comfy import running_server
from support.graphs import FOLDER
from support.random_networks import write_random_stc_weights

PATHS = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def simple(comfyui, tmp_path_factory):
    """A server with svfr-tiny, and with networks of BFVR-STC's kind."""
    base = tmp_path_factory.mktemp("simple")
    models = base / "models" / "svfr"
    models.mkdir(parents=True)
    write_random_stc_weights(models)
    with running_server(comfyui, base) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem.split()[0])
def test_a_template_runs_and_is_compared(path, vue, simple, browse, tmp_path):
    simple.post("/settings", {"Comfy.VueNodes.Enabled": vue})
    seen = browse(simple, tmp_path, "--run", path)[path.stem]
    assert seen["missing"] == seen["dialogs"] == seen["failed"] == []
    (compared,) = seen["compared"]
    assert compared["whole"], compared
    assert compared["count"] > 1
    assert [line for line in seen["console"] if "svfr" in line.lower()] == []
