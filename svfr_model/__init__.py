"""Stable Video Face Restoration as a library: frames and networks in, restored frames out.

Nothing heavy is imported here; each public name is loaded from its module when it is first used.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "base.clip": ("ArrayClip", "Clip"),
    "base.errors": ("DependencyError", "FaceNotFoundError", "InputError", "SVFRError", "WeightsError"),
    "engine.conditioning": ("FrameSource",),
    "networks.identity": ("Identity", "IdentityEncoder", "load_identity_encoder"),
    "base.progress": ("Callback",),
    "engine.restore": ("Known", "Networks", "RestoreOptions", "SampledClip", "Sampling", "restore"),
    "engine.self_reference": ("SelfReference", "SelfReferrer"),
    "base.tasks": ("Task", "parse_tasks", "task_vector", "tasks_from_vector"),
    "networks.unet": ("DiffusersBackend", "load_unet"),
    "networks.vae": ("DiffusersVAE", "load_vae"),
    "media": ("ClipWriter", "open_clip"),
    "engine.windows": ("WindowPlan",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
