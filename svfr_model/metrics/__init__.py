"""How good a restored clip is: the papers' metrics, frame by frame, and the reason for each that cannot be computed."""

from .evaluate import evaluate, run_evaluate
from .fvd import frechet_distance, fvd_features, load_i3d
from .instruments import InstrumentChoice, Instruments, load_instruments
from .perceptual import load_lpips
from .pixels import chroma_error, psnr, ssim
from .report import METRICS, Measure, Metric, Report
from .temporal import flow_frame, flow_magnitude, temporal_profile

__all__ = [
    "METRICS",
    "InstrumentChoice",
    "Instruments",
    "Measure",
    "Metric",
    "Report",
    "chroma_error",
    "evaluate",
    "flow_frame",
    "flow_magnitude",
    "frechet_distance",
    "fvd_features",
    "load_i3d",
    "load_instruments",
    "load_lpips",
    "psnr",
    "run_evaluate",
    "ssim",
    "temporal_profile",
]
