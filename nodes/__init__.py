"""The ComfyUI nodes of this pack, the only place that imports ComfyUI."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..svfr_model.base import errors
from .compare import Compare
from .conditioning import Conditioning
from .face import FaceCrop
from .face_route import register_route
from .files import register_folder
from .get_weights import GetWeights
from .identity import IdEmbedding
from .load import LoadFaceDetector, LoadIdentityEncoder, LoadModel, LoadVAE
from .load_all import LoadNetworks
from .paste import PasteBack
from .quality import Degrade, Metrics, TemporalProfile
from .restore import Restore
from .sample import Sampler
from .sample_clip import SampleClip
from .self_reference import SelfReference
from .stc import EnhanceSTC, LoadSTCModel
from .stc_video import EnhanceVideo
from .task import Tasks, TaskVector
from .video import RestoreVideo

NODES: list[type[io.ComfyNode]] = [
    SampleClip,
    LoadNetworks,
    LoadModel,
    LoadVAE,
    LoadFaceDetector,
    LoadIdentityEncoder,
    GetWeights,
    FaceCrop,
    PasteBack,
    Tasks,
    TaskVector,
    IdEmbedding,
    Sampler,
    SelfReference,
    Restore,
    RestoreVideo,
    Compare,
    Conditioning,
    LoadSTCModel,
    EnhanceSTC,
    EnhanceVideo,
    Degrade,
    Metrics,
    TemporalProfile,
]


class SVFRExtension(ComfyExtension):
    """All nodes of the pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node, one by one; from here on ComfyUI knows the model folder, which is not created."""
        _name_errors_plainly()
        register_route()
        register_folder()  # not in on_load, which older versions call too late for the lists of files
        return NODES


def _name_errors_plainly() -> None:
    """Let ComfyUI show "WeightsError: ..." for our errors: before the message it puts the module's whole path."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.SVFRError):
            kind.__module__ = "builtins"
