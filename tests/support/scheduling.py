"""How pytest-xdist shares the tests out: a module goes to one worker as a whole, for its fixtures' sake."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling


class GroupScheduling(LoadScopeScheduling):
    """A module is one group; all modules of a folder named `server` are one, since they share a ComfyUI server."""

    def __init__(self, config, log):
        config.option.loadscopereorder = False  # the order of collection, with the longest groups first, stays
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::")[0]
        folder = module.rpartition("/")[0]
        return folder if folder.endswith("/server") else module
