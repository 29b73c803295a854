"""What a node has to tell the artist, shown in the node itself; see web/js/notices.js."""

from __future__ import annotations

import logging
from collections.abc import Sequence

logger = logging.getLogger(__name__)


def notice(*messages: str, told: Sequence[str] = ()) -> dict[str, list[str]]:
    """The `ui` of a NodeOutput that shows these messages in the node; they are logged as warnings too.

    told: what is no warning, and is only shown. A node that may have something to tell always returns it: without
    messages it clears those of the last run.
    """
    for message in messages:
        logger.warning(message)
    return {"text": [*told, *messages]}
