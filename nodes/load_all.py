"""All networks of SVFR at once: the published ones where they are installed, else svfr-tiny."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..svfr_model.base.errors import WeightsError
from ..svfr_model.faces.detectors.load import load_detector
from ..svfr_model.networks.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, load_identity_encoder
from ..svfr_model.networks.unet import ROLE as UNET_ROLE
from ..svfr_model.networks.vae import ROLE as VAE_ROLE
from ..svfr_model.weights import embedded_set, weight_file
from . import model, vae
from .bundled import TINY, TINY_NOTICE, YUNET
from .files import FOLDER, find_file, missing, resolve
from .load import MODEL_FOLDERS, SMALL_FOLDERS, VAE_FOLDERS
from .notice import notice
from .search import aliases
from .types import DetectorType, EncoderType, ResidentEncoder

Loaded = TypeVar("Loaded")

AUTOMATIC, PUBLISHED = "published if installed, else svfr-tiny", "published"
FOLDERS = {
    UNET_ROLE: MODEL_FOLDERS,
    VAE_ROLE: VAE_FOLDERS,
    RECOGNIZER_ROLE: SMALL_FOLDERS,
    PROJECTION_ROLE: SMALL_FOLDERS,
}
"""Where the file of each role may lie."""


class LoadNetworks(io.ComfyNode):
    """UNet, VAE, detector and identity encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Which networks, and what to keep the largest in."""
        return io.Schema(
            node_id="SVFRLoadNetworks",
            display_name="Load SVFR Networks",
            category="SVFR/loaders",
            **aliases(
                "face restore model, video face restoration, GFPGAN model, CodeFormer model, checkpoint loader, "
                "load all, face detection, insightface"
            ),
            description="Loads all that SVFR needs: the UNet, its VAE, the face detector YuNet and the identity "
            "encoder. Without the published files it takes the bundled svfr-tiny, so that every workflow runs at once; "
            "svfr-tiny only knows drawn faces, such as those of SVFR Sample Clip. For single files, LoRA or another "
            "detector there is a loader for each network.",
            inputs=[
                io.Combo.Input(
                    "networks",
                    options=[AUTOMATIC, PUBLISHED, TINY],
                    default=AUTOMATIC,
                    tooltip=f'Which ones. "{AUTOMATIC}" (default) takes the published files as soon as they lie in '
                    f"models/{FOLDER}; svfr-tiny comes with the pack and is for trying things out.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(model.DTYPES),
                    default="auto",
                    advanced=True,
                    tooltip="Precision of the UNet's weights. \"auto\" (default) is ComfyUI's choice for your card. "
                    "fp8 needs half the memory of fp16 and costs some accuracy.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="SVFR's UNet, as Load SVFR Model gives it."),
                io.Vae.Output("vae", tooltip="Its VAE, as Load SVFR VAE gives it."),
                DetectorType.Output("detector", tooltip="The bundled face detector, YuNet."),
                EncoderType.Output("encoder", tooltip="The identity encoder."),
                io.Int.Output(
                    "size",
                    tooltip="Pixels of the crops that the network was trained on, for width and height of SVFR Face "
                    "Crop: 512, or 64 for svfr-tiny.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, networks: str) -> bool | str:
        """What is missing is reported before the graph runs."""
        lacking = [role for role, path in _files(networks).items() if path is None]
        if not lacking:
            return True
        names = [weight_file(role).name for role in lacking]
        return missing(names, lacking, list(dict.fromkeys(folder for role in lacking for folder in FOLDERS[role])))

    @classmethod
    def fingerprint_inputs(cls, networks: str, dtype: str) -> list[str]:
        """So that files which were installed since are taken."""
        return [dtype, *map(str, _files(networks).values())]

    @classmethod
    def execute(cls, networks: str, dtype: str) -> io.NodeOutput:
        """Load them."""
        paths = _files(networks)
        if not all(paths.values()):
            raise WeightsError(str(cls.validate_inputs(networks)))
        unet, vae_file, recognizer, projection = map(str, paths.values())
        reading = _Reading((unet, vae_file, recognizer, projection))
        patcher = reading.of(lambda: model.load_model(unet, dtype), unet)
        decoder = reading.of(lambda: vae.load_vae(vae_file, "auto"), vae_file)
        encoder = reading.of(lambda: load_identity_encoder(recognizer, projection), recognizer, projection)
        detector = load_detector("yunet", resolve(YUNET, "yunet", SMALL_FOLDERS), None)
        tiny = paths == _tiny()
        told = () if tiny else (f"The published networks are used: {unet}",)
        ui = notice(*[TINY_NOTICE] * tiny, told=told)
        size = patcher.model.trained_size
        return io.NodeOutput(patcher, decoder, detector, ResidentEncoder(encoder), size, ui=ui)


class _Reading:
    """Fills the node's bar by the bytes of the files that are read."""

    def __init__(self, files: Sequence[str]) -> None:
        self._bar = comfy.utils.ProgressBar(sum(os.path.getsize(file) for file in files))

    def of(self, load: Callable[[], Loaded], *files: str) -> Loaded:
        """What comes of these files."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        loaded = load()
        self._bar.update(sum(os.path.getsize(file) for file in files))
        return loaded


def _files(networks: str) -> dict[str, Path | None]:
    """The path for each role, None where a published file is missing.

    "Automatic" is svfr-tiny only where no published file is there at all: networks of two kinds do not go together.
    """
    if networks == TINY:
        return _tiny()
    published = {role: find_file(weight_file(role).name, role, folders) for role, folders in FOLDERS.items()}
    return published if networks == PUBLISHED or any(published.values()) else _tiny()


def encoder_files(networks: str) -> tuple[Path, Path] | None:
    """The recognition network and the projection that Load SVFR Networks loads; None where one is missing."""
    files = _files(networks)
    recognizer, projection = files[RECOGNIZER_ROLE], files[PROJECTION_ROLE]
    return None if recognizer is None or projection is None else (recognizer, projection)


def _tiny() -> dict[str, Path | None]:
    files = embedded_set("svfr-tiny")
    return {role: files.get(role) for role in FOLDERS}
