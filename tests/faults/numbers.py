"""What a user gives as an option: numbers, words and combinations that cannot be meant."""

from __future__ import annotations

from support import odd_files as odd
from support.faults import Fault

HUGE = "1000000000"


def number(option, value, *says, clip="absent.mp4", **more):
    """A value that restore refuses before anything is read: the clip is not there, and that is not what is said."""
    command = ("restore", clip, "out.mp4", *option.split(), value)
    return Fault(f"restore {option} {value!r}", command, says=says, never=("absent.mp4",), **more)


def face_number(option, value, *says, **more):
    """A value that restore refuses where it looks for faces."""
    command = ("restore", "face.mp4", "out.mp4", option, value)
    return Fault(f"restore {option} {value!r}", command, says=says, faces=True, **more)


def accepted(option, value, **more):
    """A value that is odd but means something."""
    command = ("restore", "in.mp4", "out.mp4", option, value)
    return Fault(f"restore {option} {value!r} works", command, code=0, writes=("out.mp4",), **more)


NOT_WHOLE = ("1.5", "", "nan", "inf", "0x10", "1e3", "ten", "1,000", "1_")
"""What is no whole number, or not written as one."""
NOT_NUMBERS = ("", "0x10", "2,5", "two", "1.2.3", "--")

SAMPLING = [
    *(number("--steps", value, "--steps", repr(value)) for value in NOT_WHOLE),
    number("--steps", "0", "steps", "between 1 and"),
    number("--steps", "-1", "steps", "-1"),
    number("--steps", HUGE, "steps"),
    number("--steps", "9" * 30, "steps"),
    number("--first-steps", "0", "steps", "between 1 and"),
    number("--first-steps", HUGE, "steps"),
    number("--seed", "-1", "--seed", "between 0 and 9223372036854775807"),
    number("--seed", "9" * 20, "seed"),
    number("--seed", "1.0", "--seed"),
    number("--seed", "nan", "--seed"),
    accepted("--seed", "9223372036854775807"),
    accepted("--seed", "0"),
    accepted("--seed", "+5"),
    accepted("--seed", " 7 "),
    *(number("--guidance", value, "--guidance") for value in NOT_NUMBERS[:5]),
    number("--guidance", "nan", "guidance"),
    number("--guidance", "inf", "guidance"),
    number("--guidance", "1e400", "guidance"),
    number("--guidance", "-inf", "guidance"),
    Fault("restore with three scales", "restore in.mp4 out.mp4 --guidance 1 2 3", says=("one or two", "3")),
    number("--guidance-sigmas 10", "0.3", "from noise level 10 up to 0.3"),
    number("--guidance-sigmas 0", "1e9", "--guidance-sigmas", "between 0 and 10000"),
    Fault("restore with half an interval", "restore absent.mp4 out.mp4 --guidance-sigmas 3", says=("expected 2",)),
    number("--levels", "log-9", "log-8", "'log-9'"),
    number("--levels", "3,700", "descend", "'3,700'"),
    number("--first-levels", "nan", "descend", "'nan'"),
    number("--steps 4 --levels", "700,3", "--levels replaces --steps"),
    number("--first-levels 700,3 --first-steps", "4", "--first-levels replaces --first-steps"),
    number("--preset", "best", "reference", "balanced"),
    Fault("restore with a scale before the names", "restore --guidance 2 in.mp4 out.mp4", says=("in.mp4",)),
    *(number("--strength", value, "strength") for value in ("0", "-1", "1.5", "nan", "inf", "-0.0")),
    number("--steps 1 --strength", "0.1", "strength", "0.1", "raise"),
    number("--first-steps 1 --strength", "0.5", "leaves none of 1 steps"),
    number("--strength", "1e-9", "strength"),
    number("--augmentation", "-1", "augmentation"),
    number("--augmentation", "nan", "augmentation"),
    number("--augmentation", "1e400", "augmentation"),
    number("--window", "0", "window"),
    number("--window", "-4", "window"),
    number("--window", HUGE, "window", "256"),
    number("--overlap", "-1", "overlap"),
    number("--overlap", "16", "overlap", "16"),
    number("--windows", "round", "--windows", "reference", "linear"),
    number("--solver", "rk4", "--solver", "euler"),
    number("--schedule", "", "--schedule", "karras"),
    number("--passes", "0", "--passes"),
    number("--passes", "3", "--passes"),
    number("--reference-frame", "-1", "--reference-frame"),
    number("--reference-frame", "first", "reference-frame", "best, last"),
    number("--reference-frame", "1.5", "reference-frame"),
    number("--reference-frame", "", "reference-frame"),
    number("--reference-frame", "²", "reference-frame"),
    number("--alignment", "crooked", "--alignment"),
    number("--decode-chunk", "0", "--decode-chunk"),
    number("--decode-chunk", "-1", "--decode-chunk"),
    number("--decode-chunk", HUGE, "--decode-chunk"),
    number("--decode-overlap", "16", "overlap"),
    number("--decode-overlap", "-1", "overlap"),
]

MACHINE = [
    number("--batch", "0", "batch"),
    number("--batch", "-2", "batch"),
    number("--batch", HUGE, "batch"),
    number("--device", "cuda:99", "cuda:99", clip="in.mp4"),
    number("--device", "gpu", "gpu", "auto, cpu, cuda", clip="in.mp4"),
    number("--device", "", "device", clip="in.mp4"),
    number("--device", "meta", "meta", clip="in.mp4"),
    number("--device", "mps", "mps", clip="in.mp4"),
    number("--dtype", "fp8", "--dtype", "fp16"),
    number("--dtype", "", "--dtype"),
    number("--tasks", "", "No task"),
    number("--tasks", ",", "No task"),
    number("--tasks", "deblur", "Unknown task deblur", "bfr"),
    number("--tasks", "bfr;colorization", "Unknown task"),
    accepted("--tasks", "BFR, Colorization,bfr"),
    Fault(
        "restore --tasks without a value", "restore in.mp4 out.mp4 --tasks", says=("--tasks", "expected one argument")
    ),
    Fault("restore with an unknown option", "restore in.mp4 out.mp4 --fast", says=("--fast",)),
    Fault("restore with half an option", "restore in.mp4 out.mp4 --pass 3", says=("--passes",)),
    Fault("restore with an ambiguous option", "restore in.mp4 out.mp4 --de cpu", says=("ambiguous",)),
    Fault("an unknown command", "restor in.mp4 out.mp4", says=("restor", "restore")),
    Fault("no command", (), says=("command",)),
    Fault("an empty command", ("",), says=("command",)),
    Fault("a command in capitals", "RESTORE in.mp4 out.mp4", says=("RESTORE",)),
    Fault("help", "--help", code=0, prints=("restore", "doctor")),
    *(
        Fault(f"help of {command}", f"{command} --help", code=0, prints=("usage", command.split()[-1]))
        for command in (
            "restore",
            "stc",
            "evaluate",
            "degrade",
            "train",
            "weights",
            "weights convert",
            "doctor",
            "demo",
        )
    ),
]

FACES = [
    *(face_number("--size", value, "--size") for value in ("0", "-64", "7")),
    *(face_number("--size", value, "--size") for value in ("nan", "")),
    face_number("--size", "65", "65", "multiple"),
    face_number("--size", "100000", "100000"),
    face_number("--size", HUGE, "--size", "between 8 and 2048 pixels"),
    face_number("--faces", "7", "no face number 7", code=4),
    face_number("--faces", "-1", "--faces", "-1"),
    face_number("--faces", "1.5", "--faces"),
    face_number("--faces", "", "--faces"),
    face_number("--faces", "larges", "--faces", "largest"),
    face_number("--faces", "²", "--faces"),
    Fault(
        "restore with a face of 5000 digits",
        ("restore", "face.mp4", "out.mp4", "--faces", "9" * 5000),
        says=("--faces",),
        faces=True,
    ),
    face_number("--faces", "absent.png", "absent.png", "no such file"),
    face_number("--faces", "in.mp4", "in.mp4"),
    face_number("--crop", "round", "--crop"),
    *(face_number("--smooth", value, "--smooth") for value in ("-1", "nan", "inf", "1e400", "1000")),
    *(face_number("--margin", value, "margin") for value in ("-0.1", "nan", "inf", "1e9")),
    *(face_number("--feather", value, "feather") for value in ("-0.1", "nan", "1.1")),
    *(face_number("--pre-downscale", value, "--pre-downscale") for value in ("0", "0.5", "nan", "inf", "1e9")),
    *(face_number("--threshold", value, "threshold") for value in ("0", "1", "-1", "nan", "2", "1e400")),
    *(face_number("--detect-size", value, "detect") for value in ("0", "-1", "", "1.5")),
    face_number("--detect-size", HUGE, "detect"),
    face_number("--detector", "haar", "--detector", "yunet"),
    face_number("--color-match", "rgb", "--color-match"),
    face_number("--region", "nose", "--region"),
    Fault("restore a clip without a face", "restore in.mp4 out.mp4", code=4, faces=True, says=("No face was found",)),
    Fault(
        "restore a clip too small for a face",
        "restore in.png out.png",
        {"in.png": odd.picture(2, 2)},
        code=4,
        faces=True,
        says=("No face was found",),
    ),
]

STC = [
    Fault(
        f"stc {option} {value!r}",
        ("stc", "in.mp4", "out.mp4", "--task", "deflicker", *option.split(), value),
        says=says,
    )
    for option, value, says in (
        ("--window", "0", ("window",)),
        ("--window", "-24", ("window",)),
        ("--overlap 1 --window", "5", ("multiples",)),
        ("--window", HUGE, ("window", "256")),
        ("--window", "x", ("--window",)),
        ("--overlap", "24", ("overlap",)),
        ("--overlap", "-8", ("overlap",)),
        ("--task", "", ("Unknown BFVR-STC task", "bfr, deflicker")),
        ("--task", "deblur", ("Unknown BFVR-STC task deblur",)),
        ("--task", "bfr,", ("Unknown BFVR-STC task",)),
        ("--device", "cuda:99", ("cuda:99",)),
        ("--crops --faces", "7.5", ("faces",)),
        ("--crops --faces", "nobody", ("faces",)),
        ("--crops --threshold", "nan", ("threshold",)),
    )
] + [
    Fault("stc of whole crops", "stc in.mp4 out.mp4 --whole --crops", says=("not allowed",)),
    Fault(
        "stc stretching two tasks",
        "stc in.mp4 out.mp4 --task deflicker,deflicker_sd --stretch",
        says=("reads the frames twice", "one by one"),
    ),
    Fault("stc of small frames", "stc in.mp4 out.mp4 --task deflicker", says=("too small", "64")),
    Fault("stc without a face", "stc in.mp4 out.mp4", {"in.mp4": odd.clip(5, 96, 96)}, code=4, says=("No face",)),
    Fault(
        "stc of one picture",
        "stc in.png out.png --task deflicker",
        {"in.png": odd.picture(96, 96)},
        code=0,
        writes=("out.png",),
    ),
    Fault(
        "stc with two tasks",
        "stc in.mp4 out.mp4 --task deflicker,deflicker_sd",
        {"in.mp4": odd.clip(5, 96, 96)},
        code=0,
        writes=("out.mp4",),
    ),
]

DEGRADE = [
    Fault(f"degrade {option} {value!r}", ("degrade", "in.mp4", "out.mp4", option, value), says=says)
    for option, value, says in (
        ("--seed", "-1", ("seed",)),
        ("--seed", "1.5", ("--seed",)),
        ("--brightness-flicker", "nan", ("flicker",)),
        ("--brightness-flicker", "-0.5", ("flicker",)),
        ("--brightness-flicker", "1.5", ("flicker",)),
        ("--brightness-flicker", "inf", ("flicker",)),
        ("--pixel-flicker", "nan", ("flicker",)),
        ("--pixel-flicker", "-3", ("flicker",)),
        ("--pixel-flicker", "1e400", ("flicker",)),
        ("--pixel-flicker", "0x10", ("--pixel-flicker",)),
        ("--tasks", "blur", ("Unknown task blur",)),
        ("--tasks", "", ("No task",)),
    )
] + [
    Fault("degrade with a large seed", f"degrade in.mp4 out.mp4 --seed {'9' * 18}", code=0, writes=("out.mp4",)),
    Fault("degrade 1x1", "degrade in.png out.png", {"in.png": odd.picture(1, 1)}, code=0, writes=("out.png",)),
    Fault("degrade one frame", "degrade in.mp4 out.mp4", {"in.mp4": odd.clip(1)}, code=0, writes=("out.mp4",)),
    Fault("degrade a broken clip", "degrade in.mp4 out.mp4", {"in.mp4": odd.text}, says=("in.mp4", "not a video")),
    Fault("degrade nothing", "degrade absent.mp4 out.mp4", says=("absent.mp4",)),
]

ROWS = [*SAMPLING, *MACHINE, *FACES, *STC, *DEGRADE]
