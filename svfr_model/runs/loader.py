"""All networks of a run, found in folders and placed on a device."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..base.devices import choose_device, choose_dtype
from ..base.errors import InputError, WeightsError
from ..base.options import options
from ..engine.options import ReferrerOptions
from ..engine.restore import Networks
from ..engine.self_reference import SelfReferrer
from ..faces.detectors.load import DETECTOR_ROLES
from ..faces.options import DetectorOptions
from ..files.digests import Digests
from ..networks.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, IdentityEncoder, load_identity_encoder
from ..networks.unet import PUBLISHED_CONFIG as UNET_CONFIG
from ..networks.unet import load_unet
from ..networks.vae import PUBLISHED_CONFIG as VAE_CONFIG
from ..networks.vae import load_vae
from ..weights import find, stored_config
from .options import DeviceOptions, PrecisionOptions
from .turns import take_turns

if TYPE_CHECKING:
    from ..engine.conditioning import VAE
    from ..engine.denoiser import DenoiserBackend
    from ..faces.face import FaceDetector
    from ..faces.landmarks import LandmarkModel

LANDMARK_ROLE = "landmarks_68"

Folders: TypeAlias = "Sequence[Path | str] | None"
Network = TypeVar("Network")


class Shelf:
    """Networks that stay loaded from one clip to the next: of each role the one that was taken last."""

    def __init__(self) -> None:
        self.digests = Digests()
        """Of the files that were read for them, so that each is read once for that, too."""
        self._kept: dict[str, tuple[Hashable, Any]] = {}

    def take(self, role: str, key: Hashable, load: Callable[[], Network]) -> Network:
        """What was loaded with the same key, or what is loaded now; another one of the role is let go before that."""
        if role in self._kept and self._kept[role][0] != key:
            del self._kept[role]
        if role not in self._kept:
            self._kept[role] = key, load()
        network: Network = self._kept[role][1]
        return network


@options
class Loader(ReferrerOptions, DetectorOptions, PrecisionOptions, DeviceOptions):
    """Finds and loads what a run needs, each network once, when it is first asked for."""

    folders: Folders = None
    """Of weights, in the order in which they are searched; None for the default."""
    shelf: Shelf | None = None
    """Where networks stay loaded for the next clip; None lets go of them with the run."""

    def require(self, *, detector: bool, encoder: bool, landmarks: bool = False) -> None:
        """Find every file that a run needs, so that a missing one is reported before any work.

        Raises WeightsError, and InputError for a device or precision that cannot be used.
        """
        choose_dtype(self.dtype, choose_device(self.device))
        self.files(detector=detector, encoder=encoder, landmarks=landmarks)

    def files(self, *, detector: bool, encoder: bool, landmarks: bool = False) -> dict[str, Path]:
        """Every file that a run needs, by role. Raises WeightsError for one that is missing."""
        roles = ["unet", "vae"]
        roles += [DETECTOR_ROLES[self.detector]] if detector else []
        roles += [RECOGNIZER_ROLE, PROJECTION_ROLE] if encoder else []
        roles += [LANDMARK_ROLE] if landmarks else []
        return {role: find(role, self.folders) for role in roles}

    def kept(self, role: str, key: Hashable, load: Callable[[], Network]) -> Network:
        """What load gives, or what it gave with this key for an earlier clip where there is a shelf."""
        return load() if self.shelf is None else self.shelf.take(role, key, load)

    def check_size(self, width: int, height: int) -> None:
        """Refuse a crop size that does not fit the networks, which their files tell. Raises InputError."""
        multiple = self._factor("unet", UNET_CONFIG) * self.vae_factor
        if width % multiple or height % multiple:
            raise InputError(
                f"Crops of {width}x{height} do not fit the network: width and height must be multiples of {multiple}."
            )

    @property
    def vae_factor(self) -> int:
        """Pixels per latent along each side, as the VAE's file tells."""
        return self._factor("vae", VAE_CONFIG)

    def _factor(self, role: str, published: Mapping[str, Any]) -> int:
        levels = (stored_config(find(role, self.folders), role) or published).get("block_out_channels")
        return 2 ** (len(levels) - 1) if isinstance(levels, list) else 1

    @cached_property
    def face_detector(self) -> FaceDetector:
        """The chosen face detector, for the search and for the reference frame at once."""
        from ..faces.detectors.load import load_detector
        from ..faces.face import SharedDetector

        path = find(DETECTOR_ROLES[self.detector], self.folders)
        device = str(choose_device(self.device))
        trusted = self.trust_torchscript

        def load() -> FaceDetector:
            found = load_detector(self.detector, path, self.threshold, device, trust_torchscript=trusted)
            return SharedDetector(found)

        return self.kept("detector", (path, self.threshold, device, trusted), load)

    @cached_property
    def landmark_model(self) -> LandmarkModel:
        """The model of 68 landmarks."""
        from ..faces.landmarks import LandmarkModel

        path, device = find(LANDMARK_ROLE, self.folders), str(choose_device(self.device))
        return self.kept(LANDMARK_ROLE, (path, device), lambda: LandmarkModel(path, device))

    @cached_property
    def encoder(self) -> IdentityEncoder:
        """The identity encoder, in float32: it is small and runs once a clip."""
        paths = find(RECOGNIZER_ROLE, self.folders), find(PROJECTION_ROLE, self.folders)
        device = choose_device(self.device)
        return self.kept("encoder", (paths, device), lambda: load_identity_encoder(*paths, device=device))

    def networks(self, *, self_referred: bool) -> Networks:
        """UNet and VAE, and for two passes the self-referrer. Raises WeightsError."""
        unet, vae = self._turned()
        if not self_referred:
            return Networks(unet, vae)
        if self.encoder.token_width != unet.token_width:
            raise WeightsError(
                f"The identity projection gives tokens of {self.encoder.token_width} channels, but the UNet takes "
                f"{unet.token_width}: the two files belong to different models."
            )
        referrer = SelfReferrer(self.face_detector, self.encoder, self.reference_frame, self.alignment)
        return Networks(unet, vae, referrer)

    def _turned(self) -> tuple[DenoiserBackend, VAE]:
        """UNet and VAE that take turns on a card. A shelf keeps the pair: it knows where a UNet that left belongs."""
        device = choose_device(self.device)
        dtype = choose_dtype(self.dtype, device)
        unet, vae, compiled = find("unet", self.folders), find("vae", self.folders), self.compile

        def load() -> tuple[DenoiserBackend, VAE]:
            loaded = load_unet(unet, device=device, dtype=dtype, compile=compiled)
            return take_turns(loaded, load_vae(vae, device=device, dtype=dtype))

        return self.kept("networks", (unet, vae, device, dtype, compiled), load)
