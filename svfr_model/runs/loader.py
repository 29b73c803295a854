"""All networks of a run, found in folders and placed on a device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..base.devices import choose_device, choose_dtype
from ..base.errors import InputError, WeightsError
from ..base.options import options
from ..engine.options import ReferrerOptions
from ..engine.restore import Networks
from ..engine.self_reference import SelfReferrer
from ..faces.detectors.load import DETECTOR_ROLES
from ..faces.options import DetectorOptions
from ..networks.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, IdentityEncoder, load_identity_encoder
from ..networks.unet import PUBLISHED_CONFIG as UNET_CONFIG
from ..networks.unet import load_unet
from ..networks.vae import PUBLISHED_CONFIG as VAE_CONFIG
from ..networks.vae import load_vae
from ..weights import find, stored_config
from .options import DeviceOptions, PrecisionOptions
from .turns import take_turns

if TYPE_CHECKING:
    from ..faces.face import FaceDetector
    from ..faces.landmarks import LandmarkModel

LANDMARK_ROLE = "landmarks_68"

Folders: TypeAlias = "Sequence[Path | str] | None"


@options
class Loader(ReferrerOptions, DetectorOptions, PrecisionOptions, DeviceOptions):
    """Finds and loads what a run needs, each network once, when it is first asked for."""

    folders: Folders = None
    """Of weights, in the order in which they are searched; None for the default."""

    def require(self, *, detector: bool, encoder: bool, landmarks: bool = False) -> None:
        """Find every file that a run needs, so that a missing one is reported before any work.

        Raises WeightsError, and InputError for a device or precision that cannot be used.
        """
        choose_dtype(self.dtype, choose_device(self.device))
        roles = ["unet", "vae"]
        roles += [DETECTOR_ROLES[self.detector]] if detector else []
        roles += [RECOGNIZER_ROLE, PROJECTION_ROLE] if encoder else []
        roles += [LANDMARK_ROLE] if landmarks else []
        for role in roles:
            find(role, self.folders)

    def check_size(self, width: int, height: int) -> None:
        """Refuse a crop size that does not fit the networks, which their files tell. Raises InputError."""
        multiple = 1
        for role, published in (("unet", UNET_CONFIG), ("vae", VAE_CONFIG)):
            path = find(role, self.folders)
            levels = (stored_config(path, role) or published).get("block_out_channels")
            multiple *= 2 ** (len(levels) - 1) if isinstance(levels, list) else 1
        if width % multiple or height % multiple:
            raise InputError(
                f"Crops of {width}x{height} do not fit the network: width and height must be multiples of {multiple}."
            )

    @cached_property
    def face_detector(self) -> FaceDetector:
        """The chosen face detector."""
        from ..faces.detectors.load import load_detector

        path = find(DETECTOR_ROLES[self.detector], self.folders)
        device = str(choose_device(self.device))
        return load_detector(self.detector, path, self.threshold, device, trust_torchscript=self.trust_torchscript)

    @cached_property
    def landmark_model(self) -> LandmarkModel:
        """The model of 68 landmarks."""
        from ..faces.landmarks import LandmarkModel

        return LandmarkModel(find(LANDMARK_ROLE, self.folders), str(choose_device(self.device)))

    @cached_property
    def encoder(self) -> IdentityEncoder:
        """The identity encoder, in float32: it is small and runs once a clip."""
        paths = find(RECOGNIZER_ROLE, self.folders), find(PROJECTION_ROLE, self.folders)
        return load_identity_encoder(*paths, device=choose_device(self.device))

    def networks(self, *, self_referred: bool) -> Networks:
        """UNet and VAE, and for two passes the self-referrer. Raises WeightsError."""
        device = choose_device(self.device)
        dtype = choose_dtype(self.dtype, device)
        unet = load_unet(find("unet", self.folders), device=device, dtype=dtype, compile=self.compile)
        vae = load_vae(find("vae", self.folders), device=device, dtype=dtype)
        if not self_referred:
            return Networks(*take_turns(unet, vae))
        if self.encoder.token_width != unet.token_width:
            raise WeightsError(
                f"The identity projection gives tokens of {self.encoder.token_width} channels, but the UNet takes "
                f"{unet.token_width}: the two files belong to different models."
            )
        referrer = SelfReferrer(self.face_detector, self.encoder, self.reference_frame, self.alignment)
        return Networks(*take_turns(unet, vae), referrer)
