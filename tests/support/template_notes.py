"""The notes of the shipped workflows: what each does, how to begin, and what it needs.

Figures of memory are the counted ones of docs/speed.md; nothing here was measured on a GPU, and the notes say so.
"""

from __future__ import annotations

PUBLISHED = "https://huggingface.co/fffiloni/SVFR/blob/main/face_restoration"
VAE = "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt/tree/main/vae"
STC = "https://github.com/Dixin-Lab/BFVR-STC/releases/tag/init"
STC_ONLY = {"bfr": "ckpt-bfvr.pth", "deflicker": "ckpt-defilcker.pth"}
"""The files of the STC workflows, for which nothing bundled stands in."""

BEGIN = """\
**Press Run**: it works at once, on a drawn clip and with the small networks that come with the pack. Then look at \
both in **SVFR Compare**: drag the line, or click on the picture and use the keyboard."""
OWN = """\
**Your own video**: add *Load Video* (double-click the canvas) and wire it in place of the sample clip. Photographed \
faces need the published networks."""
WEIGHTS = f"""\
## Networks
svfr-tiny (16 MB) is bundled and knows drawn faces only. As soon as these lie in *ComfyUI/models/svfr*, they are used \
instead; press **R** after adding them. Nothing is downloaded unasked.

| file | licence |
|---|---|
| [unet.pth]({PUBLISHED}/unet.pth), about 3 GB | research only |
| [id_linear.pth]({PUBLISHED}/id_linear.pth) | research only |
| [insightface_glint360k.pth]({PUBLISHED}/insightface_glint360k.pth) | research only |
| [svd_vae.safetensors]({VAE}), renamed | Stability AI's |

## Memory and time
Counted at full size in fp16, not measured: UNet 2.8 GiB, VAE 0.2 GiB; a window of 16 frames of 512x512 takes 1.1 GiB \
more, two at once 2.2. So 4.1 GiB with *batch* 1: by count a card of 6 GB is enough. The presets cost, against the \
published code: exact 0.76, balanced 0.20, fast 0.15, preview 0.08. No GPU has been timed."""
STC_WEIGHTS = f"""\
## Networks
From [BFVR-STC]({STC}), whose authors state no licence, into *ComfyUI/models/svfr*; then press **R**. Nothing is \
downloaded unasked, and nothing bundled stands in for them: **without them this workflow does not run**.
"""

_TEXTS = {
    "restore_video": (
        "Restore faces in a video",
        "One node finds the largest face, follows it through every shot, restores it in two passes and puts it back. "
        "The video is read and written as a stream, so that minutes of it fit in memory; sound, size and frame times "
        "are kept.\n\nChoose whose face (*choice*), what to do (*task*) and how thoroughly (*preset*: fast is a "
        "fifth of the work of exact, balanced a quarter). All else is under *advanced*. **Trim** cuts a second "
        "out, to try: select it and press Ctrl+B.",
    ),
    "everyone_video": (
        "Restore everyone in a video",
        "The same with *choice* *all*: every person in every shot is restored, one after the other, so that time grows "
        "with the number of faces, but memory does not.",
    ),
    "inpaint_video": (
        "Fill in missing parts of a face",
        "The mask says what is missing: scratches, a hole, something in front of the face. Here it comes with the "
        "sample. For your own video paint one in the mask editor of *Load Image*, or wire a black-and-white picture, "
        "white where something is missing, straight to *mask*. One picture counts for all frames.",
    ),
    "restore": (
        "Restore step by step",
        "The same as *Restore faces in a video*, each step a node, to look into or to change: **Face Crop** finds and "
        "follows the largest face, **Restore** does both passes, **Paste Back** puts it back. All frames are held in "
        "memory.",
    ),
    "everyone": (
        "Restore everyone step by step",
        "**Face Crop** with *choice* *all* gives one item per person and shot. Restore runs once per item, and **Paste "
        "Back** puts them all back into the frames.",
    ),
    "inpaint": (
        "Fill in step by step",
        "The mask is cropped with the face (in red in the preview), filled in, and put back; painted parts beside the "
        "face are filled in too. A black-and-white picture, white where something is missing, works as a mask.",
    ),
    "colorize": (
        "Restore and colorize whole frames",
        "For clips that show little but a face: the whole frame is colorized, not just a face in a grey frame. The "
        "first pass restores 16 frames, **Self-Reference** picks one of them, and the second pass restores the clip "
        "with it. Another seed gives other colours.",
    ),
    "whole": (
        "Fill in whole frames",
        "For what lies outside of faces: scratches, subtitles, a logo. The frames go to the network whole, without a "
        "crop, with the mask of what is missing; a black-and-white picture, white where something is missing, works as "
        "a mask. The network was trained on faces: expect smooth surroundings rather than detail.",
    ),
    "all_three": (
        "Restore, colorize and fill in with a portrait",
        "All three tasks on whole frames, with a good picture of the person for the identity (*portrait* of the sample "
        "clip, or *Load Image*).",
    ),
    "ksampler": (
        "With ComfyUI's KSampler",
        "KSampler treats the whole clip as one window, so only the first 16 frames are used; **SVFR Sampler** and "
        "**SVFR Restore** take any number. A picture of the person gives reference and identity; *cfg* sets how "
        "strongly they are followed. The mask says what is missing.",
    ),
    "stc_restore": (
        "Restore a face quickly with STC",
        "BFVR-STC restores the largest face in one pass. Fast motion comes out blurred; SVFR does better there.",
    ),
    "stc_deflicker": (
        "Remove flicker with STC",
        "Steadies the brightness of whole frames; *low_frequency* keeps their detail. For the fine flicker of "
        "diffusion upscalers choose the task *deflicker_sd* with its file: what the network changes at its 512 pixels "
        "is added to the frames.",
    ),
    "stc_both": ("Remove flicker, then restore", "Two tasks of BFVR-STC, one after the other."),
    "stc_then_svfr": (
        "STC first, then SVFR",
        "BFVR-STC removes brightness flicker from whole frames, then SVFR restores the largest face.",
    ),
}


def note(name: str) -> str:
    """The text of a workflow's note."""
    title, words = _TEXTS[name]
    if name.startswith("stc"):
        files = ["deflicker"] if name in ("stc_deflicker", "stc_then_svfr") else ["bfr"]
        files = ["deflicker", "bfr"] if name == "stc_both" else files
        wanted = "\n".join(f"- {STC_ONLY[file]}" for file in files)
        svfr = f"\n\n{WEIGHTS}" if name == "stc_then_svfr" else ""
        return f"## {title}\n\n{words}\n\n{STC_WEIGHTS}\n{wanted}{svfr}"
    return f"## {title}\n\n{words}\n\n{BEGIN}\n\n{OWN}\n\n{WEIGHTS}"
