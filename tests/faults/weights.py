"""What a user, or somebody who means harm, puts in place of a network."""

from __future__ import annotations

import json

from support import bad_weights as bad
from support import odd_files as odd
from support.faults import Fault


def network(name, role, make, *says, command="restore in.mp4 out.mp4", code=3, **more):
    """One of the networks is this."""
    return Fault(
        f"weights: {name}", f"{command} --weights w", {"w": bad.networks(role, make)}, says=says, code=code, **more
    )


def listed(name, role, make, fault):
    """What doctor and the list say of it, who really open the files."""
    files = {"w": bad.networks(role, make)}
    return [
        Fault(
            f"weights list: {name}", "weights list --weights w", files, code=0, prints=(f"{role}: w/", "DAMAGED", fault)
        ),
        Fault(f"doctor: {name}", "doctor --weights w", files, code=1, prints=(fault, "1 thing(s) missing")),
    ]


def described(role="unet", **config):
    """A UNet whose description was changed."""
    return bad.config(role, config)


HOSTILE = (
    ("3000 layers", described(layers_per_block=3000), "layers_per_block is 3000"),
    ("1e9 layers", described(layers_per_block=10**9), "layers_per_block is 1000000000"),
    ("layers of zeros", described(layers_per_block=0), "layers_per_block is 0"),
    ("no channels", described(block_out_channels=[0, 0]), "block_out_channels"),
    ("1e9 channels", described(block_out_channels=[10**9, 10**9]), "block_out_channels"),
    ("channels in words", described(block_out_channels="many"), "block_out_channels"),
    ("an argument that is not known", described(trust_remote_code=True), "trust_remote_code"),
    ("levels that differ", described(num_attention_heads=[2, 2, 2]), "num_attention_heads has 3"),
    ("two million brackets", bad.metadata("[" * 2_000_000), "2000000 characters"),
    ("many brackets", bad.metadata("[" * 60_000), "is not JSON"),
    ("a list", bad.metadata("[]"), "is not of the form"),
    ("a number without end", bad.metadata('{"role": "unet", "config": {"in_channels": 1e999}}'), "in_channels"),
    ("NaN", bad.metadata('{"role": "unet", "config": {"in_channels": NaN}}'), "in_channels"),
    ("another role", bad.metadata(json.dumps({"role": "vae", "config": {}})), "'vae'"),
)

RESTORE = [
    network("none", "unet", None, "unet.pth", "was not found in w", "weights download --accept-license"),
    network("a text", "unet", lambda path: path.write_text("hello"), "truncated or corrupt"),
    network("no bytes", "unet", lambda path: path.touch(), "truncated or corrupt"),
    network("half a file", "unet", bad.cut("unet"), "truncated or corrupt"),
    network("half a .pth", "unet", bad.as_pth(bad.half_pth), "truncated"),
    network("another network", "unet", bad.other("vae"), "'vae'"),
    network("one entry less", "unet", bad.changed("unet", bad.drop_one), "1 entry is missing"),
    network("one entry more", "unet", bad.changed("unet", bad.add_one), "unexpected: surplus"),
    network("one of another shape", "unet", bad.changed("unet", bad.reshape_one), "mis-shaped"),
    network("whole numbers", "unet", bad.changed("unet", bad.integers), "wrong kind of number"),
    network("no numbers", "unet", bad.changed("unet", bad.not_numbers), "NaN"),
    network("nothing in it", "unet", bad.tensors({}), "missing"),
    network("a program in a pickle", "unet", bad.as_pth(bad.exploit), "never unpickled"),
    network("a program in an old pickle", "unet", bad.as_pth(bad.old_exploit), "never unpickled"),
    network("a pickle of a list", "unet", bad.as_pth(bad.pickled([1, 2])), "holds a list"),
    network("a pickle of numbers", "unet", bad.as_pth(bad.pickled({"a": 1})), "only tensors belong"),
    network("a folder", "unet", lambda path: path.mkdir(), "was not found"),
    *(network(f"described by {name}", "unet", make, words) for name, make, words in HOSTILE),
    network("half a VAE", "vae", bad.cut("vae"), "svd_vae.safetensors", "truncated or corrupt"),
    network(
        "a detector of another kind", "yunet", bad.onnx(), "not YuNet", command="restore face.mp4 out.mp4", faces=True
    ),
    network(
        "a detector that is a program",
        "yoloface_v5m",
        bad.torchscript,
        "--trust-torchscript",
        command="restore face.mp4 out.mp4 --detector yoloface",
        faces=True,
    ),
    network(
        "SCRFD that is another graph",
        "scrfd",
        bad.onnx(),
        "det_10g.onnx",
        command="restore face.mp4 out.mp4 --detector scrfd",
        faces=True,
    ),
    network(
        "landmarks that are another graph",
        "landmarks_68",
        bad.onnx(),
        "1k3d68.onnx",
        command="restore face.mp4 out.mp4 --outline",
        faces=True,
    ),
    network(
        "STC by another's name",
        "stc_deflicker",
        bad.other("stc_bfr"),
        "stc_bfr",
        command="stc in.mp4 out.mp4 --task deflicker",
    ),
    Fault(
        "weights: a folder that is not there",
        "restore in.mp4 out.mp4 --weights w",
        code=3,
        says=("was not found in w",),
    ),
]

LISTS = [
    *listed("half a UNet", "unet", bad.cut("unet"), "truncated or corrupt"),
    *listed("half a .pth", "unet", bad.as_pth(bad.half_pth), "is truncated"),
    *listed("a UNet with 3000 layers", "unet", described(layers_per_block=3000), "layers_per_block is 3000"),
    *listed("another network", "vae", bad.other("unet"), "'unet'"),
    Fault(
        "weights list: nothing", "weights list --weights w", code=0, prints=("unet: not found", "yunet: ", "ships with")
    ),
    Fault("doctor: nothing", "doctor --weights w", code=1, prints=("4 thing(s) missing", "weights download")),
    Fault(
        "doctor: all", "doctor --weights w", {"w": bad.networks("scrfd", None)}, code=(0, 1), prints=("[     ok] unet",)
    ),
]

CONVERT = [
    Fault(
        f"weights convert {name}",
        f"weights convert {command}",
        {"w": bad.networks("scrfd", None), **files},
        code=code,
        says=says,
    )
    for name, command, files, code, says in (
        ("what is not there", "unet absent.pth o.safetensors", {}, 3, ("absent.pth", "does not exist")),
        ("an unknown role", "unett w/unet.safetensors o.safetensors", {}, 2, ("unett", "known roles: unet")),
        ("a network of another role", "unet w/svd_vae.safetensors o.safetensors", {}, 3, ("'vae'",)),
        ("to another suffix", "unet w/unet.safetensors o.pth", {}, 2, ("o.pth", "use .safetensors")),
        ("onto itself", "unet w/unet.safetensors w/unet.safetensors", {}, 2, ("the input itself",)),
        ("into a folder that is not there", "unet w/unet.safetensors no/o.safetensors", {}, 2, ("does not exist",)),
        ("to a precision that is none", "unet w/unet.safetensors o.safetensors --dtype fp8", {}, 2, ("fp8", "fp16")),
        ("a program", "unet e.pth o.safetensors", {"e.pth": bad.exploit}, 3, ("never unpickled",)),
        (
            "a detector that is a program",
            "yoloface_v5m e.pt o.onnx",
            {"e.pt": bad.torchscript},
            3,
            ("--trust-torchscript",),
        ),
    )
]

FETCH = "weights download id_linear --accept-license"

DOWNLOAD = [
    Fault("weights download into a file", FETCH, {"weights": odd.text}, says=("weights", "a file is in the way")),
    Fault(
        "weights download where a folder has its name",
        FETCH,
        {"weights/id_linear.pth": odd.full_folder},
        says=("id_linear.pth is in the way",),
    ),
    Fault(
        "weights download of a file that is there and damaged",
        FETCH,
        {"weights": odd.subfolder, "weights/id_linear.pth": bad.half_pth},
        code=3,
        says=("already exists", "is truncated"),
    ),
    Fault("weights download without consent", "weights download", says=("Nothing was downloaded", "--accept-license")),
    Fault(
        "weights download of what is not known",
        "weights download unett --accept-license",
        says=("unett", "known roles: unet"),
    ),
    Fault("weights without an action", "weights", says=("action",)),
]

ROWS = [*RESTORE, *LISTS, *CONVERT, *DOWNLOAD]
