"""Progress of a whole video: one bar over all that has to be done, and in words the phase and the time left."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io as comfy_io
from PIL import Image
from torch import Tensor

from ..svfr_model.engine.options import RestoreOptions
from ..svfr_model.engine.restore import guidance_scales, noise_levels
from ..svfr_model.networks.memory import UNET_WEIGHTS, VAE_WEIGHTS
from .remaining import Remaining
from .vae import ComfyVAE

SEARCH, CUT = 0.05, 0.07
"""Where the bar is when faces are found and cut out: before the networks work nobody knows how long they take."""
ENCODE, ROW, DECODE = 1.1, 1.4, 3.8
"""Work per frame of 512x512, in TFLOP of the full-size networks, counted: encoding, one window row in one step,
decoding with its overlap."""
FULL_SIZE, FULL_FACTOR = (512, 512), 8
"""Height and width that these were counted at, and pixels for each latent along a side."""
CROP, PASTE = 1.0, 3.0
"""Work of walks through the clip per frame, a rough figure: reading and cutting; pasting back and encoding."""
BETWEEN = 0.5
"""Least seconds between two texts."""
WORDS = {
    "load": "loading the networks",
    "detect": "finding faces",
    "crop": "cutting out",
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
PREVIEWED = 8
"""Frames of the window that the preview plays."""
PREVIEW = "svfr.preview"
"""The event that brings them to web/js/previews.js."""
_RESOLUTION = 10_000


@dataclass(frozen=True)
class Work:
    """What a frame is to the networks, in TFLOP: counted at full size, and in proportion for others."""

    encode: float = ENCODE
    row: float = ROW
    decode: float = DECODE

    @classmethod
    def of(cls, model: comfy.model_patcher.ModelPatcher, vae: comfy.sd.VAE, shape: Sequence[int]) -> Work:
        """For crops of a shape (..., height, width). A convolution's work is its parameters times its places."""
        factor = ComfyVAE(vae).factor
        places = shape[-2] * shape[-1] / (FULL_SIZE[0] * FULL_SIZE[1])
        unet = _parameters(model.model.diffusion_model) / UNET_WEIGHTS * places * (FULL_FACTOR / factor) ** 2
        pictures = _parameters(vae.first_stage_model) / VAE_WEIGHTS * places
        return cls(ENCODE * pictures, ROW * unet, DECODE * pictures)


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


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
        self._preview = None if device is None else Previews(node, device)
        self._bar = comfy.utils.ProgressBar(_RESOLUTION)
        self._start = self._last = time.monotonic()
        self._told = 0.0
        self._search = search
        self._remaining = Remaining()
        self._steps: dict[str, int] = {}

    def plan(
        self,
        frames: int,
        lengths: Sequence[int],
        options: RestoreOptions,
        given: Sequence[float] | None = None,
        work: Work = Work(),
    ) -> None:
        """What is to come of SVFR: a clip of so many frames, with a track of each of these lengths.

        frames: 0 where nothing is pasted. given: noise levels in the place of the options'. work: of the networks.
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
                "crop": [CROP * frames],
                "encode": [work.encode * length for length in lengths],
                "first denoise": [work.row * first_steps * count for count in first],
                "first decode": [work.decode * count for count in first],
                "denoise": [work.row * share * steps * length for length in lengths],
                "decode": [work.decode * length for length in lengths],
                "paste": [PASTE * frames],
            }
        )

    def weigh(self, work: Mapping[str, Sequence[float]]) -> None:
        """What is to come after the search: of each stage, how much work each of its runs is."""
        self._remaining.plan(work)
        self._remaining.known(SEARCH if self._search else 0.0)
        self._search = None

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:
        """Told by the library; raises ComfyUI's own exception after the user has cancelled.

        A stage that has done nothing yet only says what begins: the time until then was nobody's.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        name = stage.replace("windows", "denoise")
        counted = name == self._search or self._remaining.runs(name)[1] > 0
        self._note(name, done / max(1, total), counted=counted and done > 0, within=stage.endswith("windows"))
        if counted:
            picture = None if preview is None or self._preview is None else self._preview.of(preview)
            self._bar.update_absolute(round(self.share * _RESOLUTION), preview=picture)
        if counted or (name in WORDS and not done):
            self._tell(name, at_once=not done)

    def finished(self) -> None:
        """Fill the bar, and say in the place of the last phase that all is done."""
        self._bar.update_absolute(_RESOLUTION)
        tell(self._node, f"done in {_duration(time.monotonic() - self._start)}")

    @property
    def share(self) -> float:
        """The part of the bar that is filled, 0 to 1."""
        return self._remaining.share

    def _note(self, name: str, share: float, *, counted: bool, within: bool) -> None:
        """Keep how far a stage has come, and what it took. within: the share is that of one step."""
        now = time.monotonic()
        spent, self._last = now - self._last, now
        searches = name == self._search
        if counted and not searches:
            self._remaining.note(name, share, 1 / self._steps[name] if within else None)
        self._remaining.passed(spent, name if counted and not searches else None)
        if self._remaining.seconds is None and (searches or name == "crop"):
            self._remaining.known(SEARCH * share if searches else SEARCH + (CUT - SEARCH) * share)

    def _tell(self, name: str, *, at_once: bool) -> None:
        now = time.monotonic()
        if at_once or now - self._told >= BETWEEN:
            self._told = now
            tell(self._node, self._text(name))

    def _text(self, name: str) -> str:
        """Such as "restoring face 1 of 2, 40%, about 3 min left"."""
        runs, all_runs = self._remaining.runs(name)
        which = f" face {runs} of {all_runs}" if all_runs > 1 and runs else ""
        seconds = self._remaining.seconds
        left = "" if seconds is None else f", about {_duration(seconds)} left"
        return f"{WORDS[name]}{which}, {self.share:.0%}{left}"


class Previews:
    """Pictures of latents while they are sampled, as ComfyUI makes them, of several frames: the page plays them."""

    def __init__(self, node: str | None, device: torch.device, window: int = 16) -> None:
        """node: the id of the node that shows them. device: of the latents. window: frames that are looked at."""
        self._node, self._window = node, window
        self._previewer = latent_preview.get_previewer(device, comfy.latent_formats.SD15())

    def of(self, latents: Tensor) -> tuple[str, Image.Image, int | None] | None:
        """The first frame of latents (N,4,h,w), as ComfyUI's own preview; None where previews are off.

        The page is sent up to eight frames of the first window, evenly spaced, to play them in its place.
        """
        if self._previewer is None:
            return None
        count = min(self._window, len(latents))
        frames = [
            self._previewer.decode_latent_to_preview(latents[index : index + 1])
            for index in range(0, count, -(-count // PREVIEWED))
        ]
        if self._node is not None and len(frames) > 1:
            send(PREVIEW, {"node": self._node, "frames": [_jpeg(frame) for frame in frames]})
        return ("JPEG", frames[0], None)


def _jpeg(picture: Image.Image) -> str:
    """In base64."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode()


def left_in_words(share: float, elapsed: float) -> str:
    """What follows after a comma when this share of the work, 0 to 1, has taken so many seconds; "" at its start."""
    if not share:
        return ""
    return f", about {_duration(elapsed * (1 - share) / share)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def id_of(node: type[comfy_io.ComfyNode]) -> str | None:
    """The id under which the running node stands in the graph; None where nobody told it, as in tests."""
    return None if node.hidden is None else node.hidden.unique_id


def tell(node: str | None, text: str) -> None:
    """Show a text under the node with this id; None for no node."""
    if node is None:
        return
    from server import PromptServer  # here, because it needs ComfyUI's whole web server

    PromptServer.instance.send_progress_text(text, node)


def send(event: str, data: dict[str, object]) -> None:
    """Send an event to the page that asked for the run."""
    from server import PromptServer  # here, because it needs ComfyUI's whole web server

    PromptServer.instance.send_sync(event, data, PromptServer.instance.client_id)
