"""Progress of a whole video: one bar over all that has to be done, and in words the phase and the time left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import comfy.latent_formats
import comfy.model_management
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor

from ..svfr_model.engine.options import RestoreOptions
from ..svfr_model.engine.restore import guidance_scales, noise_levels

SEARCH = 0.05
"""The share of the bar for finding faces: before that is done, nobody knows how much there is to restore."""
ENCODE, ROW, DECODE, PASTE = 1.1, 1.4, 3.8, 15.0
"""Work per frame, in TFLOP of the full-size networks, counted: encoding, one window row in one step, decoding with its
overlap; and what pasting and video encoding are worth beside them, a rough figure."""
BETWEEN = 0.5
"""Least seconds between two texts."""
WORDS = {
    "detect": "finding faces",
    "encode": "encoding",
    "first denoise": "first pass",
    "first decode": "first pass",
    "denoise": "restoring",
    "decode": "decoding",
    "paste": "pasting and writing",
    "shots": "finding scene cuts",
    "measure": "measuring",
    "enhance": "enhancing",
}
PREVIEWED = 4
"""Frames in the preview of a clip."""
_RESOLUTION = 10_000


class Phases:
    """A `Callback` for a clip with any number of tracks, whose stages come once for each track, in any order.

    Every call is a chance to cancel, whatever its stage.
    """

    def __init__(
        self, node: str | None, search: str | None = "detect", device: torch.device | None = None
    ) -> None:
        """node: the id of the node that shows the text; None for no text. search: the stage that comes before all, and
        before which nobody knows what is to come; None where there is none. device: of the latents, for previews.
        """
        self._node = node
        self._preview = None if device is None else Previews(device)
        self._bar = comfy.utils.ProgressBar(_RESOLUTION)
        self._start, self._told = time.monotonic(), 0.0
        self._weights: dict[str, list[float]] = {} if search is None else {search: [1.0]}
        self._searching = self._searched = search is not None
        self._done: dict[str, list[float]] = defaultdict(list)
        self._steps: dict[str, int] = {}
        self._step: dict[str, float] = defaultdict(float)
        self._shown = 0.0

    def plan(
        self, frames: int, lengths: Sequence[int], options: RestoreOptions, given: Sequence[float] | None = None
    ) -> None:
        """What is to come of SVFR: a clip of so many frames, with a track of each of these lengths.

        frames: 0 where nothing is pasted. given: noise levels in the place of the options'.
        """
        first = [min(options.plan.length, length) for length in lengths]
        sigmas, first_sigmas = given or noise_levels(options), noise_levels(options.first_options())
        steps, first_steps = len(sigmas) - 1, len(first_sigmas) - 1
        if options.passes == 1:
            first = []
        self._steps = {"first denoise": first_steps, "denoise": steps}
        guided = sum(scale != 1.0 for scale in guidance_scales(options, sigmas)) / steps
        share = (1 + guided) * options.plan.length / max(1, options.plan.length - options.plan.overlap)
        self.weigh(
            {
                "encode": [ENCODE * length for length in lengths],
                "first denoise": [ROW * first_steps * count for count in first],
                "first decode": [DECODE * count for count in first],
                "denoise": [ROW * share * steps * length for length in lengths],
                "decode": [DECODE * length for length in lengths],
                "paste": [PASTE * frames],
            }
        )

    def weigh(self, work: Mapping[str, Sequence[float]]) -> None:
        """What is to come after the search: of each stage, how much work each of its runs is."""
        self._searching, self._done = False, defaultdict(list)
        self._weights = {name: list(runs) for name, runs in work.items()}

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:
        """Told by the library; raises ComfyUI's own exception after the user has cancelled."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        within = stage.endswith("windows")
        name = stage.replace("windows", "denoise")
        if name not in self._weights:
            return
        self._note(name, done / max(1, total), within=within)
        self._shown = max(self._shown, self._share())
        picture = None if preview is None or self._preview is None else self._preview.of(preview)
        self._bar.update_absolute(round(self._shown * _RESOLUTION), preview=picture)
        self._tell(name)

    def finished(self) -> None:
        """Fill the bar, and say in the place of the last phase that all is done."""
        self._bar.update_absolute(_RESOLUTION)
        tell(self._node, f"done in {_duration(time.monotonic() - self._start)}")

    def _note(self, name: str, share: float, *, within: bool) -> None:
        """Keep how far the latest of a stage's runs has come; what follows a finished run begins the next.

        within: the share is that of one step.
        """
        runs = self._done[name]
        if not runs or runs[-1] >= 1:
            runs.append(0.0)
        self._step[name] = share / self._steps[name] if within else 0.0
        runs[-1] = runs[-1] if within else share

    def _share(self) -> float:
        """The part of all work that is done, 0 to 1."""
        total = sum(map(sum, self._weights.values()))
        done = sum(
            weight * share
            for name, weights in self._weights.items()
            for weight, share in zip(weights, self._shares(name), strict=False)
        )
        part = done / total if total else 0.0
        if not self._searched:
            return part
        return SEARCH * part if self._searching else SEARCH + (1 - SEARCH) * part

    def _shares(self, name: str) -> list[float]:
        """How far each of a stage's runs has come."""
        runs = self._done[name]
        return [*runs[:-1], runs[-1] + self._step[name]] if runs else []

    def _tell(self, name: str) -> None:
        now = time.monotonic()
        if now - self._told >= BETWEEN:
            self._told = now
            tell(self._node, self._text(name, now - self._start))

    def _text(self, name: str, elapsed: float) -> str:
        """Such as "restoring face 1 of 2, 40%, about 3 min left"."""
        runs, all_runs = len(self._done[name]), len(self._weights[name])
        which = f" face {runs} of {all_runs}" if all_runs > 1 and runs else ""
        left = left_in_words(self._shown, elapsed) if self._shown > SEARCH * self._searched else ""
        return f"{WORDS[name]}{which}, {self._shown:.0%}{left}"


class Previews:
    """Pictures of latents while they are sampled, as ComfyUI makes them, of several frames at once."""

    def __init__(self, device: torch.device) -> None:
        """device: of the latents."""
        self._previewer = latent_preview.get_previewer(device, comfy.latent_formats.SD15())

    def of(self, latents: Tensor) -> tuple[str, Image.Image, int | None] | None:
        """Up to four frames of latents (N,4,h,w), the first and the last among them; None where previews are off."""
        if self._previewer is None:
            return None
        count = min(PREVIEWED, len(latents))
        chosen = [round(number * (len(latents) - 1) / max(1, count - 1)) for number in range(count)]
        frames = [self._previewer.decode_latent_to_preview(latents[index : index + 1]) for index in chosen]
        width, height = frames[0].size
        columns = 1 if count == 1 else 2
        sheet = Image.new("RGB", (columns * width, -(-count // columns) * height))
        for number, frame in enumerate(frames):
            sheet.paste(frame, (number % columns * width, number // columns * height))
        return ("JPEG", sheet, None)


def left_in_words(share: float, elapsed: float) -> str:
    """What follows after a comma when this share of the work, 0 to 1, has taken so many seconds; "" at its start."""
    if not share:
        return ""
    return f", about {_duration(elapsed * (1 - share) / share)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def id_of(node: type[io.ComfyNode]) -> str | None:
    """The id under which the running node stands in the graph; None where nobody told it, as in tests."""
    return None if node.hidden is None else node.hidden.unique_id


def tell(node: str | None, text: str) -> None:
    """Show a text under the node with this id; None for no node."""
    if node is None:
        return
    from server import PromptServer  # here, because it needs ComfyUI's whole web server

    PromptServer.instance.send_progress_text(text, node)
