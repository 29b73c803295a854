"""What a node has to tell the artist, shown in the node itself; see web/js/notices.js."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


def notice(*messages: str) -> dict[str, list[str]]:
    """The `ui` of a NodeOutput that shows these messages in the node; they are logged as warnings too.

    A node that may have something to tell always returns it: without messages it clears those of the last run.
    """
    for message in messages:
        logger.warning(message)
    return {"text": list(messages)}
