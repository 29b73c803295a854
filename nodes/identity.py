"""Whose face it is, from pictures of the person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.engine.options import Alignment, ReferrerOptions
from ..svfr_model.runs.portrait import identity_of
from .images import to_pictures
from .search import aliases
from .types import DetectorType, EncoderType, IdentityType, ResidentEncoder
from .widgets import inputs_of

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector


class IdEmbedding(io.ComfyNode):
    """Identity tokens from pictures of a person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Takes lists, so that pictures may differ in size."""
        return io.Schema(
            node_id="SVFRIdentity",
            display_name="SVFR ID Embedding",
            category="SVFR/identity",
            **aliases("face ID, IP-Adapter FaceID, face embedding, reference face, ReActor, roop, InstantID"),
            description="Reads a person's identity from one or more good pictures of them, and steers the restoration "
            "towards that face. All pictures in a batch or list are averaged.",
            is_input_list=True,
            inputs=[
                io.Image.Input(
                    "pictures",
                    tooltip="One or more pictures of one person, as a batch or a list of any sizes; the largest face "
                    "in each is used. Several are averaged: a bad one does less harm, but what is typical of one gets "
                    "softer.",
                ),
                EncoderType.Input("encoder", tooltip="From Load SVFR Identity Encoder."),
                DetectorType.Input("detector", tooltip="From Load Face Detector; finds the face in each picture."),
                *inputs_of(ReferrerOptions, without=["reference_frame"]),
            ],
            outputs=[IdentityType.Output("identity", tooltip="Identity for SVFR Sampler, Restore or Conditioning.")],
        )

    @classmethod
    def execute(
        cls,
        pictures: list[Tensor],
        encoder: list[ResidentEncoder],
        detector: list[FaceDetector],
        alignment: list[Alignment],
    ) -> io.NodeOutput:
        """One identity of all pictures."""
        faces = [picture for batch in pictures for picture in to_pictures(batch)]
        named = {f"identity picture {number}": picture for number, picture in enumerate(faces, 1)}
        with encoder[0].loaded() as networks:
            return io.NodeOutput(identity_of(named, detector[0], networks, alignment[0]))
