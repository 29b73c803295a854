"""Run by ComfyUI Manager and comfy-cli after requirements.txt: repairs onnxruntime-gpu, and does nothing else.

insightface depends on plain onnxruntime. pip installs both into one folder, where the plain one's files take the place
of onnxruntime-gpu's: only CPU providers are left, for every pack in this ComfyUI. Installing the same onnxruntime-gpu
once more, without its dependencies, puts its files back. Nothing runs this file when ComfyUI starts.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata

CUDA = "CUDAExecutionProvider"
PROVIDERS = "import onnxruntime; print(' '.join(onnxruntime.get_available_providers()))"


def main() -> int:
    """Say what is found, repair it where it needs to be, and return the exit code: 0 unless the repair failed."""
    version = overwritten()
    if version is None:
        return 0
    command = [sys.executable, "-m", "pip", "install", "--force-reinstall", "--no-deps", f"onnxruntime-gpu=={version}"]
    say(f"onnxruntime has overwritten onnxruntime-gpu {version}, which is CPU-only now. Repairing: {' '.join(command)}")
    if subprocess.run(command, check=False).returncode or CUDA not in providers():
        say("The repair failed; faces are still found, on the CPU. Run the command above by hand.")
        return 1
    say(f"Repaired: onnxruntime offers {CUDA} again.")
    return 0


def overwritten() -> str | None:
    """The version of the onnxruntime-gpu that lost its CUDA provider to plain onnxruntime; None where none has."""
    plain, gpu = installed("onnxruntime"), installed("onnxruntime-gpu")
    if sys.platform == "darwin" or plain is None or gpu is None:
        return nothing("onnxruntime-gpu and onnxruntime are not both installed")
    if shutil.which("nvidia-smi") is None:
        return nothing("this machine has no NVIDIA driver")
    if CUDA in providers():
        return nothing("onnxruntime offers CUDA")
    return gpu


def nothing(reason: str) -> None:
    """Say why nothing is done."""
    say(f"onnxruntime is left as it is: {reason}.")


def installed(name: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def providers() -> list[str]:
    """What onnxruntime offers, asked in a process of its own: here its files may be about to change."""
    done = subprocess.run([sys.executable, "-c", PROVIDERS], capture_output=True, text=True, check=False)
    return done.stdout.split()


def say(line: str) -> None:
    """A line for whoever installs the pack."""
    sys.stdout.write(f"[ComfyUI-SVFR] {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
