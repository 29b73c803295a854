"""The commands `weights list`, `weights download` and `weights convert`."""

from __future__ import annotations

import argparse

from ..faces.options import TrustOptions
from .bar import progress
from .derive import add_options
from .options import Commands, add_folders, path
from .process import tell


def add(commands: Commands) -> None:
    """Add the command `weights`."""
    command = commands.add_parser("weights", help="list, download or convert weight files")
    actions = command.add_subparsers(required=True, metavar="action")
    listing = actions.add_parser("list", help="every file, its source and licence, and whether it is there")
    add_folders(listing)
    listing.set_defaults(run=_list_weights, quiet=False)
    download = actions.add_parser("download", help="fetch files from their sources")
    download.add_argument("roles", nargs="*", help="which files, by role; by default all that two passes need")
    download.add_argument("--accept-license", action="store_true", help="I have read the licences and accept them")
    download.add_argument("--weights", metavar="DIR", type=path, default="weights", help="folder to download to")
    download.add_argument("--quiet", action="store_true")
    download.set_defaults(run=_download_weights, goes_on="Complete files stay, and the same command continues")
    convert = actions.add_parser("convert", help="write a checkpoint as safetensors, yoloface_v5m as ONNX")
    convert.add_argument("role", help="what the file is, as `weights list` names it")
    convert.add_argument("source", metavar="IN", type=path)
    convert.add_argument("target", metavar="OUT", type=path, help=".safetensors, or .onnx for yoloface_v5m")
    convert.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="cast the numbers; kept if not given")
    add_options(convert, TrustOptions)
    convert.set_defaults(run=_convert_weights, quiet=False)


def _list_weights(options: argparse.Namespace) -> int:
    from ..base.errors import WeightsError
    from ..weights import REGISTRY, embedded, fault_of, find

    for role, entry in REGISTRY.items():
        try:
            found = find(role, options.weights)
            fault = fault_of(found, role)
            place = f"{found}{' (ships with this package)' if found == embedded(role) else ''}"
            place = f"{place}: DAMAGED, it {fault}" if fault else place
        except WeightsError:
            place = "not found"
        note = f"\n  note: {entry.note}" if entry.note else ""
        tell(f"{role}: {place}\n  {entry.purpose}\n  {entry.url}\n  licence: {entry.licence}{note}")
    return 0


def _download_weights(options: argparse.Namespace) -> int:
    from ..files.paths import Output, check_paths
    from ..weights import REGISTRY, download

    roles = options.roles or [role for role, entry in REGISTRY.items() if not entry.optional]
    if options.accept_license:
        check_paths([], [Output(options.weights, "weights", form="folder")])
    callback = progress(options.quiet)
    for got in download(roles, options.weights, accept_license=options.accept_license, callback=callback):
        tell(str(got))
    return 0


def _convert_weights(options: argparse.Namespace) -> int:
    from ..base.devices import DTYPES
    from ..weights import convert

    if options.role == "yoloface_v5m":
        from ..faces.detectors.yoloface import convert_to_onnx

        convert_to_onnx(options.source, options.target, trusted=options.trust_torchscript)
        tell(str(options.target))
        return 0
    convert(options.source, options.target, options.role, DTYPES[options.dtype] if options.dtype else None)
    tell(str(options.target))
    return 0
