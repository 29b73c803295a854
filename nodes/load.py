"""The nodes that load networks. Nothing is downloaded: a missing file is a message that says where to get it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..svfr_model.base.errors import InputError, WeightsError
from ..svfr_model.faces.detectors.load import DETECTOR_ROLES, load_detector
from ..svfr_model.faces.options import DetectorOptions
from ..svfr_model.networks.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, load_identity_encoder
from ..svfr_model.networks.unet import ROLE as UNET_ROLE
from ..svfr_model.networks.vae import ROLE as VAE_ROLE
from . import model, vae
from .bundled import TINY, TINY_NOTICE, YUNET
from .files import FOLDER, STATE_DICTS, check, file_input, missing, resolve
from .notice import notice
from .search import aliases
from .types import DetectorType, EncoderType, ResidentEncoder
from .widgets import folded, inputs_of, made

MODEL_FOLDERS = (FOLDER, "diffusion_models")
VAE_FOLDERS = (FOLDER, "vae", "checkpoints")
SMALL_FOLDERS = (FOLDER,)
DETECTORS = list(DETECTOR_ROLES.values())
DETECTOR_SUFFIXES = (".onnx", ".pt")
RUNS_CODE = "is a program that now runs on this machine, because trust_torchscript is on."


class LoadModel(io.ComfyNode):
    """SVFR's UNet as ComfyUI's MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file and what to keep it in."""
        return io.Schema(
            node_id="SVFRLoadModel",
            display_name="Load SVFR Model",
            category="SVFR/loaders",
            **aliases(
                "face restore model, video face restoration, GFPGAN model, CodeFormer model, SVD, checkpoint loader"
            ),
            description="Loads SVFR's UNet as an ordinary MODEL: ComfyUI manages its memory, and LoRA, attention and "
            "torch.compile nodes work on it.",
            inputs=[
                file_input(
                    "model_name",
                    [UNET_ROLE],
                    MODEL_FOLDERS,
                    STATE_DICTS,
                    "SVFR's UNet, from models/svfr or models/diffusion_models. Published as unet.pth; "
                    "unet.safetensors is the same. svfr-tiny comes with the pack, for trying the nodes out: it only "
                    "knows drawn faces.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(model.DTYPES),
                    default="auto",
                    tooltip='Precision of the weights. "auto" (default) is ComfyUI\'s choice for your card, fp16 on '
                    "most. fp32 is the most exact and needs twice the memory of fp16; fp8 needs half of it and costs "
                    "some accuracy.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="SVFR's UNet, for SVFR Sampler, SVFR Restore or KSampler.")],
        )

    @classmethod
    def validate_inputs(cls, model_name: str) -> bool | str:
        """A missing file is reported before the graph runs."""
        return check(model_name, [UNET_ROLE], MODEL_FOLDERS)

    @classmethod
    def execute(cls, model_name: str, dtype: str) -> io.NodeOutput:
        """Load it."""
        loaded = model.load_model(resolve(model_name, UNET_ROLE, MODEL_FOLDERS), dtype)
        return io.NodeOutput(loaded, ui=notice(*[TINY_NOTICE] * (model_name == TINY)))


class LoadVAE(io.ComfyNode):
    """Stable Video Diffusion's VAE as ComfyUI's VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file and what to keep it in."""
        return io.Schema(
            node_id="SVFRLoadVAE",
            display_name="Load SVFR VAE",
            category="SVFR/loaders",
            **aliases("SVD VAE, video VAE, temporal VAE"),
            description="Loads Stable Video Diffusion's VAE with its temporal decoder. ComfyUI's own Load VAE "
            "mistakes the diffusers file for another VAE, and colours come out wrong.",
            inputs=[
                file_input(
                    "vae_name",
                    [VAE_ROLE],
                    VAE_FOLDERS,
                    STATE_DICTS,
                    "The VAE's diffusers file, or a whole checkpoint such as svd_xt.safetensors, from models/svfr, "
                    "models/vae or models/checkpoints.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(vae.DTYPES),
                    default="auto",
                    tooltip='Precision of decoding. "auto" (default) is ComfyUI\'s choice; fp32 is the most exact and '
                    "the slowest. Frames are always encoded in full precision.",
                ),
            ],
            outputs=[io.Vae.Output("vae", tooltip="The VAE, for this pack's nodes and for VAE Decode.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name: str) -> bool | str:
        """A missing file is reported before the graph runs."""
        return check(vae_name, [VAE_ROLE], VAE_FOLDERS)

    @classmethod
    def execute(cls, vae_name: str, dtype: str) -> io.NodeOutput:
        """Load it."""
        return io.NodeOutput(vae.load_vae(resolve(vae_name, VAE_ROLE, VAE_FOLDERS), dtype))


class LoadFaceDetector(io.ComfyNode):
    """A face detector."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file, what it is, and how sure it must be."""
        return io.Schema(
            node_id="SVFRLoadFaceDetector",
            display_name="Load Face Detector",
            category="SVFR/loaders",
            **aliases("face detection, YuNet, YOLO face, SCRFD, RetinaFace, insightface"),
            description="Loads the detector that finds faces and their landmarks. It runs on the CPU.",
            inputs=[
                file_input(
                    "detector_name",
                    DETECTORS,
                    SMALL_FOLDERS,
                    DETECTOR_SUFFIXES,
                    f"The detector's file. {YUNET} comes with the pack (default); others, such as "
                    "face_detection_yunet_2023mar.onnx, go into models/svfr.",
                ),
                *folded(inputs_of(DetectorOptions), "kind"),
            ],
            outputs=[DetectorType.Output("detector", tooltip="The detector, for Face Crop, ID Embedding and others.")],
        )

    @classmethod
    def validate_inputs(cls, detector_name: str) -> bool | str:
        """A missing file is reported before the graph runs."""
        return check(detector_name, DETECTORS, SMALL_FOLDERS)

    @classmethod
    def execute(cls, detector_name: str, **widgets: Any) -> io.NodeOutput:
        """Load it."""
        options = made(DetectorOptions, widgets)
        kind, trusted = options.detector, options.trust_torchscript
        if detector_name == YUNET and kind != "yunet":
            raise InputError(f'{YUNET} is not a {kind} detector: choose the kind "yunet", or a {kind} file.')
        path = resolve(detector_name, DETECTOR_ROLES[kind], SMALL_FOLDERS)
        detector = load_detector(kind, path, options.threshold, trust_torchscript=trusted)
        return io.NodeOutput(detector, ui=notice(*[f"{path.name} {RUNS_CODE}"] * (trusted and path.suffix == ".pt")))


class LoadIdentityEncoder(io.ComfyNode):
    """The face recognition network and the projection to identity tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Two files that belong together."""
        return io.Schema(
            node_id="SVFRLoadIdentityEncoder",
            display_name="Load SVFR Identity Encoder",
            category="SVFR/loaders",
            **aliases("insightface, ArcFace, face recognition, face embedding"),
            description="Loads the two networks that turn a face into SVFR's identity tokens. They occupy the GPU "
            "only while they run.",
            inputs=[
                file_input(
                    "recognizer_name",
                    [RECOGNIZER_ROLE],
                    SMALL_FOLDERS,
                    STATE_DICTS,
                    "The iresnet100 face recognition network from models/svfr; published as insightface_glint360k.pth.",
                ),
                file_input(
                    "projection_name",
                    [PROJECTION_ROLE],
                    SMALL_FOLDERS,
                    STATE_DICTS,
                    "SVFR's projection from face features to tokens, from models/svfr; published as id_linear.pth.",
                ),
            ],
            outputs=[EncoderType.Output("encoder", tooltip="The encoder, for ID Embedding, Self-Reference and more.")],
        )

    @classmethod
    def validate_inputs(cls, recognizer_name: str, projection_name: str) -> bool | str:
        """Missing files are reported before the graph runs.

        By a WeightsError, which ComfyUI shows once for the node: a message returned would be shown for both arguments,
        whichever file is missing.
        """
        asked = ((recognizer_name, RECOGNIZER_ROLE), (projection_name, PROJECTION_ROLE))
        lacking = [(name, role) for name, role in asked if check(name, [role], SMALL_FOLDERS) is not True]
        if lacking:
            names, roles = zip(*lacking, strict=True)
            raise WeightsError(missing(names, roles, SMALL_FOLDERS))
        return True

    @classmethod
    def execute(cls, recognizer_name: str, projection_name: str) -> io.NodeOutput:
        """Load both, in float32: they are small and run once a clip."""
        encoder = load_identity_encoder(
            resolve(recognizer_name, RECOGNIZER_ROLE, SMALL_FOLDERS),
            resolve(projection_name, PROJECTION_ROLE, SMALL_FOLDERS),
        )
        return io.NodeOutput(ResidentEncoder(encoder))
