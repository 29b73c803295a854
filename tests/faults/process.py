"""What only a process meets: signals, pipes, closed and full streams, full and read-only disks, slow servers."""

from __future__ import annotations

import signal

from support import bad_weights
from support import odd_files as odd
from support.files import frames_of
from support.hub import CONTENT
from support.processes import PARTIAL, Process

LONG = odd.clip(2500)
"""A clip that takes seconds: long enough to be hit while it is at work."""
DEGRADE = {"long.mp4": LONG}
NOTHING = "interrupted; nothing was written"
TRAINING = odd.settings(
    output="o",
    weights="own",
    window=4,
    clips=2,
    synthetic_clips=4,
    loop={"steps": 100_000, "save_every": 1, "warmup": 0},
)
OWN = {"own": bad_weights.networks("yunet", None)}


def signalled(name, command, signals, *, when, code=None, says=(NOTHING,), **more):
    """A command that gets signals while it works, and ends as the last of them says."""
    signals = tuple(signals.split())
    code = 128 + getattr(signal, signals[-1]) if code is None else code
    return Process(f"{name}: {' '.join(signals)}", command, signals=signals, when=when, code=code, says=says, **more)


def killed(name, command, when, then, *writes, **more):
    """A command that has no time to tidy up, and what the next one does about it."""
    more.setdefault("says", ("removed; a killed run had left it behind",))
    return Process(
        f"{name}: SIGKILL",
        command,
        signals=("SIGKILL",),
        when=when,
        code=-getattr(signal, "SIGKILL", 9),
        then=then,
        writes=writes,
        **more,
    )


def whole(name, count=5):
    """A check: a clip is whole."""

    def check(folder):
        assert len(frames_of(folder / name)) == count

    return check


def fetched(folder):
    """A check: the download is what the server has."""
    assert (folder / "weights/id_linear.pth").read_bytes() == CONTENT


SIGNALS = [
    *(
        signalled("degrade", "degrade long.mp4 out.mp4", name, when="degrade:", files=DEGRADE)
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
    ),
    # The second comes while the first is being answered, or while Python is about to end, which it may cut short.
    signalled("degrade", "degrade long.mp4 out.mp4", "SIGINT SIGINT", when="degrade:", files=DEGRADE, code=(130, -2)),
    signalled("degrade into a folder", "degrade long.mp4 out", "SIGTERM", when="degrade:", files=DEGRADE),
    signalled(
        "degrade over an older result",
        "degrade long.mp4 out.mp4",
        "SIGHUP",
        when="degrade:",
        files={**DEGRADE, "out.mp4": odd.clip(3)},
    ),
    signalled(
        "restore with all it writes",
        "restore face.mp4 out.mp4 --steps 1000 --debug-video d.mp4 --keep-crop",
        "SIGINT",
        when="denoise",
        faces=True,
    ),
    signalled("evaluate", "evaluate long.mp4 --json a.json", "SIGINT", when="evaluate:", files=DEGRADE),
    signalled(
        "stc", "stc long.mp4 out.mp4 --task deflicker", "SIGTERM", when="%", files={"long.mp4": odd.clip(400, 96, 96)}
    ),
    signalled(
        "train",
        "train c.json",
        "SIGINT",
        when="o/checkpoint.pt",
        files={"c.json": TRAINING, **OWN},
        says=("interrupted; written before that", "o/checkpoint.pt", "The same command continues"),
        writes=("o", "o/checkpoint.pt", "o/config.json", "o/losses.jsonl"),
    ),
    signalled(
        "train while footage is prepared",
        "train c.json",
        "SIGINT",
        when="footage:",
        files={
            "c.json": odd.settings(output="o", weights="own", videos="v", weight_prior=0, workers=2),
            **{f"v/{number}.mp4": odd.clip(300, 96, 96) for number in range(12)},
            **OWN,
        },
        says=("interrupted; written before that", "o/config.json", "The same command continues"),
        writes=("o", "o/config.json", "o/footage", "o/footage/clips", "o/footage/clips.jsonl"),
    ),
    signalled(
        "degrade under nohup",
        "degrade in.mp4 out.mp4",
        "SIGHUP",
        shell="trap '' HUP; exec {}",
        when="degrade:",
        code=0,
        says=(),
        writes=("out.mp4",),
        files={"in.mp4": odd.clip(500)},
        check=whole("out.mp4", 500),
    ),
    signalled(
        "degrade that is stopped and goes on",
        "degrade in.mp4 out.mp4",
        "SIGSTOP SIGCONT",
        when="degrade:",
        code=0,
        says=(),
        writes=("out.mp4",),
        files={"in.mp4": odd.clip(500)},
        check=whole("out.mp4", 500),
    ),
    killed(
        "degrade into a folder",
        "degrade long.mp4 out",
        "degrade:",
        "degrade in.png next.png",
        "next.png",
        files={**DEGRADE, "in.png": odd.picture()},
    ),
    killed(
        "degrade over an older result, and again",
        "degrade long.mp4 out.mp4",
        "degrade:",
        "degrade in.mp4 out.mp4",
        files={**DEGRADE, "in.mp4": odd.clip(), "out.mp4": odd.clip(3)},
        replaces=("out.mp4",),
        check=whole("out.mp4"),
    ),
]


def shell(name, command, line, **more):
    """A command with pipes or streams that are none."""
    return Process(f"streams: {name}", command, shell=line, **more)


DEGRADED = {"command": "degrade in.mp4 out.mp4", "code": 0, "writes": ("out.mp4",), "check": whole("out.mp4")}

STREAMS = [
    shell("a list whose reader goes away", "weights list", "{} | head -1; exit ${PIPESTATUS[0]}", code=(0, 141)),
    shell("help whose reader goes away", "--help", "{} | true; exit ${PIPESTATUS[0]}", code=(0, 141)),
    shell("a result whose reader has gone", **{**DEGRADED, "line": "{} | true; exit ${PIPESTATUS[0]}", "code": 141}),
    shell("messages whose reader has gone", line="{} 2> >(true)", **DEGRADED),
    shell("a log on a full disk", line="{} 2>/dev/full", **DEGRADED),
    shell("no streams", line="{} <&- >&- 2>&-", **DEGRADED),
    shell("a list on a full disk", "weights list", "{} >/dev/full", code=1, says=("printed here", "No space left")),
    shell("an error without an error stream", "restore absent.mp4 o.mp4", "{} 2>&-", silent=True),
    shell("an error on a full disk", "restore absent.mp4 o.mp4", "{} 2>/dev/full", silent=True),
    shell(
        "a clip through a pipe",
        "restore /dev/stdin out.mp4",
        "cat in.mp4 | {}",
        says=("/dev/stdin", "not a file"),
        files={"in.mp4": odd.clip()},
    ),
    shell("a result through a pipe", "degrade in.mp4 /dev/stdout", "{} | cat; exit ${PIPESTATUS[0]}", says=("a pipe",)),
    shell(
        "a folder that is gone",
        "degrade in.mp4 out.mp4",
        "mkdir gone; cd gone; rmdir ../gone; {}",
        says=("is not there any more",),
    ),
    Process(
        "streams: a name that is no text",
        ("restore", "\udcff.mp4", "out.mp4"),
        says=("\\udcff.mp4", "no such file"),
    ),
    Process(
        "streams: a terminal that knows ASCII alone",
        ("degrade", "in.mp4", "影.mp4"),
        environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        code=0,
        prints=("wrote \\u5f71.mp4",),
        writes=("影.mp4",),
    ),
]

LARGE = {"large.mp4": odd.portrait_clip(100)}
"""A clip of which a disk of 64 KiB holds only the beginning."""
FULL = {"disks": {"disk": "size=64k"}, "says": ("No space left", "The disk is full")}
TAKEN = {"disk/other": odd.data(bytes(64 << 10))}
"""All of that disk."""


def full(name, command, **more):
    """A command that fills a small disk: what it says, and that nothing stays there."""
    return Process(f"full disk: {name}", command, **{**FULL, **more})


FULL_DISKS = [
    full("degrade", "degrade large.mp4 disk/out.mp4", files=LARGE),
    full("degrade into a folder", "degrade large.mp4 disk/out", files=LARGE),
    full(
        "degrade over an older result", "degrade large.mp4 disk/out.mp4", files={**LARGE, "disk/out.mp4": odd.clip(3)}
    ),
    full("a mask", "degrade in.mp4 out.mp4 --tasks inpainting --mask-out disk/m.mkv", files=TAKEN),
    full("figures", "evaluate in.mp4 truth.mp4 --json disk/a.json", files=TAKEN, prints=("PSNR",)),
    full(
        "no room for another name",
        "degrade in.mp4 disk/out.mp4",
        disks={"disk": "nr_inodes=1"},
        says=("cannot write into this folder", "No space left"),
    ),
    full("a converted checkpoint", "weights convert unet own/unet.safetensors disk/unet.safetensors", files=OWN),
    full(
        "a checkpoint of a training",
        "train c.json",
        disks={"o": "size=64k"},
        files={"c.json": TRAINING, **OWN},
        says=("o/checkpoint.pt", "No space left", "The disk is full"),
        writes=("o/config.json", "o/losses.jsonl"),
    ),
    Process(
        "full disk: a file that grows too large",
        "degrade large.mp4 out.mp4",
        files=LARGE,
        most=64 << 10,
        says=("out.mp4", "File too large"),
    ),
]

READ_ONLY = [
    Process(
        f"read-only: {name}",
        command,
        disks={"shut": "size=64k"},
        readonly=("shut",),
        says=("shut", "Read-only file system"),
        files={**OWN, "c.json": odd.settings(output="shut/o", weights="own", clips=2)},
    )
    for name, command in (
        ("a disk for the result", "degrade in.mp4 shut/out.mp4"),
        ("a disk for a converted checkpoint", "weights convert unet own/unet.safetensors shut/unet.safetensors"),
        ("a disk for a training", "train c.json"),
        ("a disk for weights", "weights download id_linear --accept-license --weights shut"),
    )
] + [
    Process(
        "read-only: a disk that is read",
        "degrade shut/in.mp4 out.mp4",
        disks={"shut": "size=64k"},
        readonly=("shut",),
        files={"shut/in.mp4": odd.clip()},
        code=0,
        writes=("out.mp4",),
    ),
    Process(
        "read-only: a folder, by its permissions",
        "degrade in.mp4 shut/out.mp4",
        files={"shut": odd.subfolder},
        readonly=("shut",),
        says=("shut", "Permission denied"),
    ),
    Process(
        "read-only: an older result",
        "degrade in.mp4 out.mp4",
        files={"out.mp4": odd.clip(3)},
        readonly=("out.mp4",),
        says=("out.mp4", "already exists and cannot be replaced", "Permission denied"),
    ),
]

LINKS = [
    Process(
        "links: a result on another disk",
        "degrade in.mp4 out.mp4",
        disks={"disk": "size=64k"},
        files={"disk/old.mp4": odd.clip(3), "out.mp4": odd.link("disk/old.mp4")},
        code=0,
        replaces=("disk/old.mp4",),
        check=whole("out.mp4"),
    ),
    Process(
        "links: a result on a disk that is read-only",
        "degrade in.mp4 out.mp4",
        disks={"disk": "size=64k"},
        readonly=("disk",),
        files={"disk/old.mp4": odd.clip(3), "out.mp4": odd.link("disk/old.mp4")},
        says=("out.mp4", "Read-only"),
    ),
    Process(
        "links: an input by the number of an open file",
        "degrade /dev/fd/5 ./in.mp4",
        files={"in.mp4": odd.clip()},
        shell="{} 5<in.mp4",
        says=("in.mp4", "the input itself"),
    ),
    Process(
        "links: the mask over the clip by a hard link",
        "degrade in.mp4 out.mp4 --tasks inpainting --mask-out m.mp4",
        files={"in.mp4": odd.clip(), "m.mp4": odd.hard_link("in.mp4")},
        says=("m.mp4", "the input itself"),
    ),
    Process(
        "links: the figures over the truth by a symbolic link",
        "evaluate in.mp4 truth.json --json figures.json",
        files={"truth.json": odd.clip(), "figures.json": odd.link("truth.json")},
        says=("figures.json", "the input itself"),
    ),
]

FETCH = "weights download id_linear --accept-license"


def download(name, *says, command=FETCH, **more):
    """A download from the stand-in of Hugging Face."""
    more.setdefault("server", {})
    return Process(f"download: {name}", command, says=says, **more)


FETCHED = {"code": 0, "writes": ("weights", "weights/id_linear.pth"), "check": fetched}

DOWNLOADS = [
    download("that works", **FETCHED),
    download("whose connection breaks", server={"break_after": [2100]}, **FETCHED),
    download(
        "that trickles, until Ctrl-C",
        "interrupted; Complete files stay, and the same command continues",
        server={"pieces": 1, "pause": 1.0},
        signals=("SIGINT",),
        when=f"weights/{PARTIAL}",
        code=130,
        writes=("weights", f"weights/{PARTIAL}"),
    ),
    download(
        "that is killed, and the next one",
        server={"break_after": [2100]},
        signals=("SIGKILL",),
        when=f"weights/{PARTIAL}",
        then=FETCH,
        **{**FETCHED, "code": -9},
    ),
    download(
        "from a server that gives little at a time",
        "5 connections in a row that brought little",
        "50 of 5000 bytes are kept",
        server={"break_after": [10] * 100},
        code=3,
        writes=("weights", f"weights/{PARTIAL}"),
        slow=True,
    ),
    download(
        "from a server that has lost it", "id_linear.pth", "404", server={"status": 404}, code=3, writes=("weights",)
    ),
    download(
        "without a server",
        "id_linear.pth",
        "Connection refused",
        server=None,
        environment={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"},
        code=3,
        writes=("weights",),
    ),
    download(
        "onto a disk without room",
        "room for",
        "5000 bytes",
        "nothing was downloaded",
        disks={"weights": "size=8k"},
        files={"weights/other": odd.data(bytes(4096))},
    ),
    download(
        "that fills its share of a disk",
        "File too large",
        "4096 of 5000 bytes are kept",
        "the next try goes on from there",
        "on the command line --weights",
        most=4096,
        code=3,
        writes=("weights", f"weights/{PARTIAL}"),
    ),
]

ROWS = [*SIGNALS, *STREAMS, *FULL_DISKS, *READ_ONLY, *LINKS, *DOWNLOADS]
