"""Which weight files exist, what each is for, where it comes from and on which terms.

Sizes and checksums are those that the publisher or a public record of the published file states. Others are left out:
none of these files was at hand when the list was written, and an invented checksum is worse than none. To add a file,
add one `WeightFile` to `_FILES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ..base.errors import InputError, WeightsError

DOWNLOAD_COMMAND = "python -m svfr_model weights download"

_SVFR_LICENCE = "non-commercial research use only, according to the README of github.com/wangzhiyaoo/SVFR"
_INSIGHTFACE_LICENCE = "non-commercial research use only, according to InsightFace (github.com/deepinsight/insightface)"
_STC_LICENCE = "none stated by github.com/Dixin-Lab/BFVR-STC, neither for its code nor for its checkpoints"
_SVD_LICENCE = (
    "Stability AI's licence for Stable Video Diffusion, shown at "
    "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt (may ask for a login)"
)


@dataclass(frozen=True)
class WeightFile:
    """One weight file that people download."""

    role: str
    """The name that this library knows it by; also the role in `svfr_config` metadata."""
    name: str
    """File name in a weights folder; a download gets this name, too."""
    repository: str
    """Hugging Face repository, or the GitHub one of a file that has an address."""
    path: str
    """Path inside the repository."""
    licence: str
    """Terms of use, in words that allow a person to decide."""
    comfyui_folders: tuple[str, ...]
    """Folders under ComfyUI's `models` that are searched, in this order."""
    purpose: str
    """What it is for, as a noun phrase that error messages can quote."""
    kind: Literal["state_dict", "torchscript", "onnx"] = "state_dict"
    """A state dict may also be stored in the other state-dict formats under the same stem."""
    note: str = ""
    """Anything else worth knowing before downloading it."""
    optional: bool = False
    """Whether the default two-pass restoration works without it."""
    address: str = ""
    """Download address of a file that is not on Hugging Face."""
    inside: str = ""
    """Key of these weights in a published pickle that also holds others; "" if it holds nothing else."""
    size: int = 0
    """Bytes of the published file; 0 if not known."""
    about: int = 0
    """Bytes to expect where the published size is not known, counted from the network's parameters; 0 if unknown."""
    sha256: str = ""
    """SHA-256 of the published file in hexadecimal; "" if not known."""
    shipped: str = ""
    """Path of a copy that ships with this package, under `svfr_model/models`; "" if there is none."""

    @property
    def url(self) -> str:
        """The page that a person can open to download the file by hand."""
        if self.address:
            return self.address
        return f"https://huggingface.co/{self.repository}/blob/main/{self.path}"

    @property
    def source(self) -> str:
        """Where to get the file and on which terms, to end an error message with."""
        return (
            f"Get it from {self.url} (licence: {self.licence}) or with "
            f"`{self.command}`, and put it into a weights folder as {self.name}."
        )

    @property
    def command(self) -> str:
        """The command that downloads this file; without a role it downloads all files that are not optional."""
        return f"{DOWNLOAD_COMMAND} {f'{self.role} ' if self.optional else ''}--accept-license"

    def candidates(self, folder: Path) -> list[Path]:
        """Where this file may be under folder: by its name, or by its path in the repository."""
        paths = [folder / self.name, folder / PurePosixPath(self.path)]
        if self.kind == "torchscript":  # what it was converted to comes first: a graph runs no code
            return [path.with_suffix(suffix) for path in paths for suffix in (".onnx", path.suffix)]
        if self.kind == "onnx":
            return paths
        return [path.with_suffix(suffix) for path in paths for suffix in (".safetensors", ".pth", ".pt")]


_FILES = (
    WeightFile(
        role="unet",
        name="unet.pth",
        repository="fffiloni/SVFR",
        path="face_restoration/unet.pth",
        licence=_SVFR_LICENCE,
        comfyui_folders=("svfr", "diffusion_models"),
        purpose="SVFR's denoising UNet",
        about=2 * 1_524_634_602,
        note="about 3 GB in half precision; a mirror of the authors' Google Drive folder",
    ),
    WeightFile(
        role="id_linear",
        name="id_linear.pth",
        repository="fffiloni/SVFR",
        path="face_restoration/id_linear.pth",
        licence=_SVFR_LICENCE,
        comfyui_folders=("svfr",),
        purpose="the projection from face features to SVFR's identity tokens",
        about=4 * 526_336,
    ),
    WeightFile(
        role="insightface_glint360k",
        name="insightface_glint360k.pth",
        repository="fffiloni/SVFR",
        path="face_restoration/insightface_glint360k.pth",
        licence=_INSIGHTFACE_LICENCE,
        comfyui_folders=("svfr",),
        purpose="the iresnet100 face recognition network",
        about=4 * 65_225_946,
    ),
    WeightFile(
        role="yoloface_v5m",
        name="yoloface_v5m.pt",
        repository="fffiloni/SVFR",
        path="face_align/yoloface_v5m.pt",
        licence=_SVFR_LICENCE,
        comfyui_folders=("svfr",),
        purpose="the reference's face detector",
        kind="torchscript",
        note="a TorchScript program, which runs only if it is trusted; YuNet is the default detector",
        optional=True,
    ),
    WeightFile(
        role="vae",
        name="svd_vae.safetensors",
        repository="stabilityai/stable-video-diffusion-img2vid-xt",
        path="vae/diffusion_pytorch_model.fp16.safetensors",
        licence=_SVD_LICENCE,
        comfyui_folders=("svfr", "vae"),
        purpose="Stable Video Diffusion's VAE with the temporal decoder",
        about=2 * 97_742_847,
    ),
    WeightFile(
        role="yunet",
        name="face_detection_yunet_2023mar.onnx",
        repository="opencv/face_detection_yunet",
        path="face_detection_yunet_2023mar.onnx",
        licence="MIT",
        comfyui_folders=("svfr",),
        purpose="the YuNet face detector",
        kind="onnx",
        note="a detector of this kind ships with this package; your own file replaces it",
        optional=True,
        size=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        shipped="yunet/face_detection_yunet_n_640.onnx",
    ),
    WeightFile(
        role="scrfd",
        name="det_10g.onnx",
        repository="public-data/insightface",
        path="models/buffalo_l/det_10g.onnx",
        licence=_INSIGHTFACE_LICENCE,
        comfyui_folders=("svfr", "insightface/models/buffalo_l"),
        purpose="InsightFace's SCRFD face detector",
        kind="onnx",
        note="a mirror of InsightFace's buffalo_l; YuNet is the default detector",
        optional=True,
        size=16_923_827,
        sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    ),
    WeightFile(
        role="landmarks_68",
        name="1k3d68.onnx",
        repository="public-data/insightface",
        path="models/buffalo_l/1k3d68.onnx",
        licence=_INSIGHTFACE_LICENCE,
        comfyui_folders=("svfr", "insightface/models/buffalo_l"),
        purpose="InsightFace's 68 face landmarks, for pasting back along the outline of the face",
        kind="onnx",
        note="a mirror of InsightFace's buffalo_l",
        optional=True,
        size=143_607_619,
        sha256="df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
    ),
    *(
        WeightFile(
            role=f"stc_{task}",
            name=name,
            repository="Dixin-Lab/BFVR-STC",
            path=name,
            licence=_STC_LICENCE,
            comfyui_folders=("svfr",),
            purpose=purpose,
            optional=True,
            address=f"https://github.com/Dixin-Lab/BFVR-STC/releases/download/init/{name}",
            inside="params_ema",
        )
        for task, name, purpose in (
            ("bfr", "ckpt-bfvr.pth", "BFVR-STC's fast face restorer"),
            ("deflicker", "ckpt-defilcker.pth", "BFVR-STC's remover of brightness flicker"),
            ("deflicker_sd", "ckpt-deflickersd.pth", "BFVR-STC's remover of the pixel flicker of diffusion upscalers"),
        )
    ),
)

REGISTRY: dict[str, WeightFile] = {entry.role: entry for entry in _FILES}
"""Every known weight file by its role."""


def weight_file(role: str) -> WeightFile:
    """The registry's entry for a role. Raises InputError, which lists the known ones, for an unknown role."""
    if role not in REGISTRY:
        raise InputError(f"No weights are registered under {role!r}; known roles: {', '.join(REGISTRY)}.")
    return REGISTRY[role]


def checked_file(path: str | Path, what: str) -> Path:
    """The path of a weight file that exists. Raises WeightsError, which says how to get it, if it does not."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; the weights of {what} were expected there. Put them there, or give another "
            "path. `python -m svfr_model weights list` shows which files were found, and where to get the others."
        )
    return path
