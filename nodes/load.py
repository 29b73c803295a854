"""The nodes that load networks. Nothing is downloaded: a missing file is a message that says where to get it."""

from __future__ import annotations

from comfy_api.latest import io

from ..svfr_model.faces.detect import DETECTOR_KINDS, DetectorKind, load_detector
from ..svfr_model.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, load_identity_encoder
from ..svfr_model.load import DETECTOR_ROLES
from . import model, vae
from .files import FOLDER, STATE_DICTS, check, file_input, resolve
from .types import DetectorType, EncoderType, ResidentEncoder

MODEL_FOLDERS = (FOLDER, "diffusion_models")
VAE_FOLDERS = (FOLDER, "vae", "checkpoints")
SMALL_FOLDERS = (FOLDER,)
DETECTOR_SUFFIXES = (".onnx", ".pt")


class LoadModel(io.ComfyNode):
    """SVFR's UNet as ComfyUI's MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file and what to keep it in."""
        return io.Schema(
            node_id="SVFRLoadModel",
            display_name="Load SVFR Model",
            category="SVFR/loaders",
            description="Loads SVFR's UNet as an ordinary MODEL: ComfyUI manages its memory, and LoRA, attention and "
            "torch.compile nodes work on it.",
            inputs=[
                file_input(
                    "model_name",
                    model.ROLE,
                    MODEL_FOLDERS,
                    STATE_DICTS,
                    "SVFR's UNet, from models/svfr or models/diffusion_models. Published as unet.pth.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(model.DTYPES),
                    default="auto",
                    tooltip='What the weights are kept in. "auto" (default) is ComfyUI\'s choice for your card, fp16 '
                    "on most. fp32 is the most exact and needs twice the memory; fp8 halves it again and costs some "
                    "accuracy.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="SVFR's UNet, for SVFR Sampler, SVFR Restore or KSampler.")],
        )

    @classmethod
    def validate_inputs(cls, model_name: str) -> bool | str:
        """A missing file is told before anything runs."""
        return check(model_name, model.ROLE, MODEL_FOLDERS)

    @classmethod
    def execute(cls, model_name: str, dtype: str) -> io.NodeOutput:
        """Load it."""
        return io.NodeOutput(model.load_model(resolve(model_name, model.ROLE, MODEL_FOLDERS), dtype))


class LoadVAE(io.ComfyNode):
    """Stable Video Diffusion's VAE as ComfyUI's VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file and what to keep it in."""
        return io.Schema(
            node_id="SVFRLoadVAE",
            display_name="Load SVFR VAE",
            category="SVFR/loaders",
            description="Loads Stable Video Diffusion's VAE with its temporal decoder. ComfyUI's own Load VAE takes "
            "the diffusers file for another VAE, and colours come out wrong.",
            inputs=[
                file_input(
                    "vae_name",
                    vae.ROLE,
                    VAE_FOLDERS,
                    STATE_DICTS,
                    "The diffusers file of the VAE, or a whole checkpoint such as svd_xt.safetensors, from "
                    "models/svfr, models/vae or models/checkpoints.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(vae.DTYPES),
                    default="auto",
                    tooltip='What frames are decoded in. "auto" (default) is ComfyUI\'s choice; fp32 is the most exact '
                    "and slowest. Frames are encoded in full precision whatever is chosen.",
                ),
            ],
            outputs=[io.Vae.Output("vae", tooltip="The VAE, for this pack's nodes and for VAE Decode.")],
        )

    @classmethod
    def validate_inputs(cls, vae_name: str) -> bool | str:
        """A missing file is told before anything runs."""
        return check(vae_name, vae.ROLE, VAE_FOLDERS)

    @classmethod
    def execute(cls, vae_name: str, dtype: str) -> io.NodeOutput:
        """Load it."""
        return io.NodeOutput(vae.load_vae(resolve(vae_name, vae.ROLE, VAE_FOLDERS), dtype))


class LoadFaceDetector(io.ComfyNode):
    """A face detector."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file, what it is, and how sure it must be."""
        return io.Schema(
            node_id="SVFRLoadFaceDetector",
            display_name="Load Face Detector",
            category="SVFR/loaders",
            description="Loads the detector that finds faces and their landmarks. It runs on the CPU.",
            inputs=[
                file_input(
                    "detector_name",
                    "yunet",
                    SMALL_FOLDERS,
                    DETECTOR_SUFFIXES,
                    "The detector's file from models/svfr; YuNet is published as face_detection_yunet_2023mar.onnx.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(DETECTOR_KINDS),
                    default="yunet",
                    tooltip="What the file is. yunet (default): small, quick, free licence. yoloface: the reference's, "
                    "slower. scrfd: insightface's, through onnxruntime.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.05,
                    tooltip="How sure the detector must be. 0 (default) is its own: 0.6 for yunet, 0.5 for the others. "
                    "Lower finds more blurred or turned faces, and more that are none.",
                ),
            ],
            outputs=[DetectorType.Output("detector", tooltip="The detector, for Face Crop, ID Embedding and others.")],
        )

    @classmethod
    def validate_inputs(cls, detector_name: str, kind: DetectorKind) -> bool | str:
        """A missing file is told before anything runs."""
        if kind not in DETECTOR_ROLES:
            return f"Unknown kind of detector {kind!r}: choose one of {', '.join(DETECTOR_ROLES)}."
        return check(detector_name, DETECTOR_ROLES[kind], SMALL_FOLDERS)

    @classmethod
    def execute(cls, detector_name: str, kind: DetectorKind, threshold: float) -> io.NodeOutput:
        """Load it."""
        path = resolve(detector_name, DETECTOR_ROLES[kind], SMALL_FOLDERS)
        return io.NodeOutput(load_detector(kind, path, threshold or None))


class LoadIdentityEncoder(io.ComfyNode):
    """The face recognition network and the projection to identity tokens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Two files that belong together."""
        return io.Schema(
            node_id="SVFRLoadIdentityEncoder",
            display_name="Load SVFR Identity Encoder",
            category="SVFR/loaders",
            description="Loads the two networks that turn a face into SVFR's identity tokens. They are on the GPU "
            "only while they are used.",
            inputs=[
                file_input(
                    "recognizer_name",
                    RECOGNIZER_ROLE,
                    SMALL_FOLDERS,
                    STATE_DICTS,
                    "The iresnet100 face recognition network from models/svfr; published as insightface_glint360k.pth.",
                ),
                file_input(
                    "projection_name",
                    PROJECTION_ROLE,
                    SMALL_FOLDERS,
                    STATE_DICTS,
                    "SVFR's projection from face features to tokens, from models/svfr; published as id_linear.pth.",
                ),
            ],
            outputs=[EncoderType.Output("encoder", tooltip="The encoder, for ID Embedding, Self-Reference and more.")],
        )

    @classmethod
    def validate_inputs(cls, recognizer_name: str, projection_name: str) -> bool | str:
        """A missing file is told before anything runs."""
        found = check(recognizer_name, RECOGNIZER_ROLE, SMALL_FOLDERS)
        return found if found is not True else check(projection_name, PROJECTION_ROLE, SMALL_FOLDERS)

    @classmethod
    def execute(cls, recognizer_name: str, projection_name: str) -> io.NodeOutput:
        """Load both, in float32: they are small and run once a clip."""
        encoder = load_identity_encoder(
            resolve(recognizer_name, RECOGNIZER_ROLE, SMALL_FOLDERS),
            resolve(projection_name, PROJECTION_ROLE, SMALL_FOLDERS),
        )
        return io.NodeOutput(ResidentEncoder(encoder))
