"""The command line from file to file, with tiny random weights of the real architecture."""

import gc
import re
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from support.files import frames_of, gradient, write
from support.video import encode

from svfr_model.commands import main
from svfr_model.engine.options import RestoreOptions
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.faces.track import FaceTrack
from svfr_model.media import open_clip
from svfr_model.runs.options import FaceOptions

FAST = ("--steps", "2", "--size", "64", "--device", "cpu", "--quiet")


def restore(source, target, folder, *options):
    return main(["restore", str(source), str(target), "--weights", str(folder), *FAST, *options])


def whole(source, target, folder, *options):
    return restore(source, target, folder, "--no-crop", "--passes", "1", *options)


def portrait_video(path, count=6, audio=None, size=256):
    picture = np.ascontiguousarray(astronaut()[:size, 90 : 90 + size])
    frames = [av.VideoFrame.from_ndarray(np.roll(picture, k, 1), format="rgb24") for k in range(count)]
    return encode(path, [frame.reformat(format="yuv420p") for frame in frames], audio=audio)


def test_real_clip_goes_through_every_step(real_clip, face_weights, tmp_path, capsys):
    target = tmp_path / "out.mp4"
    command = ["restore", str(real_clip), str(target), "--weights", str(face_weights), "--steps", "2", "--size", "64"]
    assert main([*command, "--device", "cpu"]) == 0
    before, after = open_clip(real_clip), open_clip(target)
    assert (len(after), after.fps, after.width, after.height) == (85, 25, 128, 128)
    first, last = frames_of(real_clip), frames_of(target)
    changed = np.abs(first.astype(int) - last).mean((1, 2, 3))
    assert (changed > 1).all()
    corners = [np.s_[:, :12, :12], np.s_[:, :12, -12:]]
    assert all(np.abs(first[c].astype(int) - last[c]).mean() < 3 for c in corners)
    assert before.timestamps == after.timestamps
    captured = capsys.readouterr()
    assert f"wrote {target}" in captured.out
    assert "detect" in captured.err
    assert "denoise" in captured.err


def test_sound_is_kept(face_weights, tmp_path):
    source = portrait_video(tmp_path / "in.mp4", audio={"codec": "aac", "seconds": 0.24})
    assert restore(source, tmp_path / "out.mp4", face_weights) == 0
    packets = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0]
    assert packets[0] == packets[1]


def test_a_clip_without_a_face_says_so_and_writes_nothing(face_weights, tmp_path, short_clip, capsys):
    before = sorted(tmp_path.iterdir())
    assert restore(short_clip, tmp_path / "out.mp4", face_weights) == 4
    assert "No face was found" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(params=[1, 2])
def threads(request):
    """So many threads of torch, which are what the promise of same bytes depends on."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_same_seed_and_threads_same_bytes_through_faces_and_two_passes(face_weights, tmp_path, threads):
    source = portrait_video(tmp_path / "in.mp4")
    for name in "ab":
        assert restore(source, tmp_path / f"{name}.mp4", face_weights) == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_where_same_bytes_are_promised_it_says_what_they_depend_on(root, capsys):
    with pytest.raises(SystemExit):
        main(["restore", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--seed SEED .*? same seed, input and number of threads ", told)
    readme = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    promise = readme[readme.index("(`OMP_NUM_THREADS`)") :][:500]
    assert "the same input, options and seed give the same bytes" in promise
    assert "numbers of threads round" in promise
    assert "16 levels" in promise


def test_same_seed_same_bytes_another_seed_others(weights, short_clip, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert whole(short_clip, tmp_path / f"{name}.mp4", weights, "--seed", seed) == 0
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(("height", "width"), [(47, 33), (128, 16), (64, 64)])
def test_whole_frames_keep_every_size(weights, tmp_path, height, width):
    source = write(tmp_path / "in.mkv", gradient(5, height, width))
    assert whole(source, tmp_path / "out.mkv", weights) == 0
    clip = open_clip(tmp_path / "out.mkv")
    assert (len(clip), clip.height, clip.width) == (5, height, width)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_clips_too_short_for_the_reference_work(weights, tmp_path, count):
    source = write(tmp_path / "in.mp4", gradient(count, 32, 32))
    assert whole(source, tmp_path / "out.mp4", weights) == 0
    assert len(open_clip(tmp_path / "out.mp4")) == count


def test_a_picture_in_and_a_picture_out(face_weights, tmp_path):
    Image.fromarray(astronaut()[:256, 90:346]).save(tmp_path / "in.png")
    assert restore(tmp_path / "in.png", tmp_path / "out.png", face_weights) == 0
    assert Image.open(tmp_path / "out.png").size == (256, 256)


def test_folders_in_and_out(weights, tmp_path):
    (tmp_path / "in").mkdir()
    for k, frame in enumerate(gradient(5, 32, 32)):
        Image.fromarray(frame).save(tmp_path / "in" / f"{k}.png")
    assert whole(tmp_path / "in", tmp_path / "out", weights) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{k:06}.png" for k in range(5)]


def test_given_reference_and_identity_are_used(face_weights, tmp_path):
    source = portrait_video(tmp_path / "in.mp4")
    Image.fromarray(astronaut()).save(tmp_path / "person.png")
    runs = {
        "plain": (),
        "reference": ("--reference", str(tmp_path / "person.png")),
        "identity": ("--identity", str(tmp_path / "person.png")),
    }
    for name, options in runs.items():
        assert restore(source, tmp_path / f"{name}.mp4", face_weights, *options) == 0
    plain, reference, identity = (frames_of(tmp_path / f"{name}.mp4").astype(int) for name in runs)
    assert np.abs(plain - reference).max() > 5
    assert np.abs(plain - identity).max() > 5


def test_whole_frames_of_odd_sizes_take_a_reference_of_any_size(face_weights, tmp_path):
    source = write(tmp_path / "in.mp4", gradient(5, 47, 33))
    Image.fromarray(astronaut()).save(tmp_path / "person.png")
    assert (
        restore(source, tmp_path / "out.mp4", face_weights, "--no-crop", "--reference", str(tmp_path / "person.png"))
        == 0
    )
    clip = open_clip(tmp_path / "out.mp4")
    assert (len(clip), clip.height, clip.width) == (5, 47, 33)


@pytest.mark.parametrize("option", ["--reference", "--identity"])
def test_pictures_without_a_face_are_named(face_weights, tmp_path, capsys, option):
    source = portrait_video(tmp_path / "in.mp4")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "nobody.png")
    assert restore(source, tmp_path / "out.mp4", face_weights, option, str(tmp_path / "nobody.png")) == 4
    assert "nobody.png" in capsys.readouterr().err


def test_faces_are_chosen_by_number_or_picture_and_drawn(face_weights, tmp_path, capsys):
    source = portrait_video(tmp_path / "in.mp4")
    Image.fromarray(astronaut()).save(tmp_path / "person.png")
    assert restore(source, tmp_path / "a.mp4", face_weights, "--faces", "7") == 4
    assert "no face number 7. Found: 0" in capsys.readouterr().err
    options = ("--faces", str(tmp_path / "person.png"), "--crop", "static", "--debug-video", str(tmp_path / "d.mp4"))
    assert restore(source, tmp_path / "b.mp4", face_weights, *options) == 0
    drawn, plain = frames_of(tmp_path / "d.mp4"), frames_of(source)
    assert drawn.shape == plain.shape
    assert np.abs(drawn.astype(int) - plain).max() > 100


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--faces", "larges"), 2, "all, largest, left, right, a number, or a picture"),
        (("--faces", "absent.png"), 2, "there is no such file"),
        (("--reference-frame", "16"), 2, "at most 16 frames"),
        (("--debug-video", "OUT"), 2, "the same file"),
        (("--debug-video", "no/such/folder/d.mp4"), 2, "no/such/folder"),
        (("--smooth", "1000"), 2, "--smooth must be a number between 0 and 300 frames, not 1000.0"),
        (("--margin", "nan"), 2, "margin"),
    ],
)
def test_what_is_known_to_fail_fails_before_detection(
    face_weights, tmp_path, capsys, monkeypatch, options, code, message
):
    source = portrait_video(tmp_path / "in.mp4")
    monkeypatch.setattr("svfr_model.runs.restore_file.track_shots", lambda *_: pytest.fail("detection ran"))
    options = [str(tmp_path / "out.mp4") if option == "OUT" else option for option in options]
    assert restore(source, tmp_path / "out.mp4", face_weights, *options) == code
    assert message in capsys.readouterr().err


def test_a_picture_as_output_of_a_clip_is_refused_before_any_work(face_weights, tmp_path, capsys):
    source = portrait_video(tmp_path / "in.mp4")
    assert restore(source, tmp_path / "out.png", face_weights) == 2
    assert "the clip has 6" in capsys.readouterr().err


def test_every_face_option_reaches_what_it_is_for(face_weights, tmp_path, monkeypatch):
    seen = {}

    def stop(job, *_):
        seen["faces"] = job.faces
        raise KeyboardInterrupt

    monkeypatch.setattr("svfr_model.runs.restore_file.run", stop)
    options = "--crop static --smooth 7 --margin 0.2 --roll --pre-downscale 2 --size 96 --detect-size 320 --faces 3"
    pasting = "--color-match wavelet --region crop --feather 0.3 --occlusion-safe"
    assert restore("in.mp4", tmp_path / "out.mp4", face_weights, *options.split(), *pasting.split()) == 130
    faces = seen["faces"]
    assert faces.choice == 3
    assert faces.track.detect_size == 320
    assert faces.crop == CropOptions("static", (96, 96), 0.2, 7.0, True, pre_downscale=2.0)
    assert faces.paste == PasteOptions("crop", 0.3, "wavelet", True)


def test_the_command_lines_defaults_are_the_engines(monkeypatch):
    seen = []
    monkeypatch.setattr("svfr_model.runs.restore_file.run", lambda job, *_: seen.append(job) or [])
    assert main(["restore", "in.mp4", "out.mp4", "--quiet"]) == 0
    (job,) = seen
    assert job.options == RestoreOptions()
    assert job.faces == FaceOptions()


def test_outline_adds_68_landmarks_before_the_crop_is_planned(face_weights, tmp_path, monkeypatch, capsys):
    source = portrait_video(tmp_path / "in.mp4", count=2)
    assert restore(source, tmp_path / "out.mp4", face_weights, "--outline") == 3
    assert "1k3d68.onnx" in capsys.readouterr().err
    (face_weights / "1k3d68.onnx").write_bytes(b"a stand-in")
    monkeypatch.setattr("svfr_model.faces.landmarks.LandmarkModel", lambda path, device: "model")
    seen = []

    def add(clip, tracks, model, callback, memory):
        seen.append((model, [type(track) for track in tracks]))
        return tracks

    monkeypatch.setattr("svfr_model.runs.restore_file.add_outlines", add)
    assert restore(source, tmp_path / "out.mp4", face_weights, "--outline") == 0
    (face_weights / "1k3d68.onnx").unlink()
    assert seen == [("model", [FaceTrack])]


def test_crops_go_to_folders_where_the_output_is_one(face_weights, tmp_path):
    source = portrait_video(tmp_path / "in.mp4", count=2)
    assert restore(source, tmp_path / "out", face_weights, "--keep-crop") == 0
    assert len(list((tmp_path / "out-crop0").iterdir())) == 2


def test_whole_frames_are_not_stretched(weights, tmp_path, monkeypatch):
    """With networks that change nothing, what comes out is what went in, at every size."""
    monkeypatch.setattr("svfr_model.runs.restore_clip.restore_crops", lambda networks, crops, request, **_: crops)
    source = write(tmp_path / "in.mkv", gradient(5, 47, 33))
    assert whole(source, tmp_path / "out", weights) == 0
    assert np.array_equal(frames_of(tmp_path / "out"), frames_of(source))


def test_keep_crop_writes_the_crop_beside_the_output(face_weights, tmp_path):
    source = portrait_video(tmp_path / "in.mp4")
    assert restore(source, tmp_path / "out.mp4", face_weights, "--keep-crop") == 0
    crop = open_clip(tmp_path / "out-crop0.mp4")
    assert (len(crop), crop.width, crop.height) == (6, 64, 64)


def test_masks_of_any_size_and_one_or_all_frames(weights, short_clip, tmp_path):
    picture = np.zeros((30, 20), np.uint8)
    picture[10:20] = 255
    Image.fromarray(picture).save(tmp_path / "mask.png")
    options = ("--tasks", "inpainting", "--mask")
    assert whole(short_clip, tmp_path / "one.mp4", weights, *options, str(tmp_path / "mask.png")) == 0
    write(tmp_path / "masks.mkv", [np.repeat(picture[..., None], 3, 2)] * 5)
    assert whole(short_clip, tmp_path / "all.mp4", weights, *options, str(tmp_path / "masks.mkv")) == 0
    one, every = frames_of(tmp_path / "one.mp4"), frames_of(tmp_path / "all.mp4")
    assert np.abs(one.astype(int) - every).mean() < 1


def test_a_mask_with_another_number_of_frames_is_refused(weights, short_clip, tmp_path, capsys):
    mask = write(tmp_path / "mask.mkv", gradient(3, 48, 64))
    code = whole(short_clip, tmp_path / "out.mp4", weights, "--tasks", "inpainting", "--mask", str(mask))
    assert code == 2
    assert "the mask has 3 frames, the clip 5" in capsys.readouterr().err


@pytest.mark.parametrize("with_mask", [False, True])
def test_mask_without_inpainting_and_inpainting_without_mask_warn(weights, short_clip, tmp_path, capsys, with_mask):
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "mask.png")
    options = ("--tasks", "bfr", "--mask", str(tmp_path / "mask.png")) if with_mask else ("--tasks", "inpainting")
    arguments = ["--weights", str(weights), *FAST, "--no-crop", "--passes", "1", *options]
    arguments.remove("--quiet")
    assert main(["restore", str(short_clip), str(tmp_path / "out.mp4"), *arguments]) == 0
    assert ("mask is not used" if with_mask else "without a mask") in capsys.readouterr().err


def av_frames(pixel_format, count=5, size=(64, 48)):
    pictures = gradient(count, size[1], size[0])
    return [av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format) for picture in pictures]


@pytest.mark.parametrize("pixel_format", ["gray", "yuv420p10le", "yuva420p"])
def test_unusual_pixels_give_the_result_of_usual_ones(weights, tmp_path, pixel_format):
    source = encode(tmp_path / "in.mkv", av_frames(pixel_format), codec="ffv1")
    assert whole(source, tmp_path / "out.mp4", weights) == 0
    plain = encode(tmp_path / "plain.mkv", av_frames("yuv444p"), codec="ffv1")
    assert whole(plain, tmp_path / "expected.mp4", weights) == 0
    ours, expected = frames_of(tmp_path / "out.mp4"), frames_of(tmp_path / "expected.mp4")
    assert ours.shape == expected.shape
    assert np.abs(ours.astype(int) - expected).mean() < 8


def test_variable_frame_rate_is_kept(weights, tmp_path):
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 5), Fraction(1, 4), Fraction(1)]
    source = encode(tmp_path / "in.mp4", av_frames("yuv420p"), times=times)
    assert whole(source, tmp_path / "out.mp4", weights) == 0
    ours = open_clip(tmp_path / "out.mp4").timestamps
    assert [float(t) for t in ours] == pytest.approx([float(t) for t in times], abs=1e-3)


def broken(path):
    path.write_bytes(b"\x00\x00\x00\x20ftypisom" + b"nonsense" * 100)


def empty(path):
    path.write_bytes(b"")


def absent(path):
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("make", [broken, empty, absent])
def test_unusable_inputs_are_named(weights, tmp_path, capsys, make):
    make(tmp_path / "in.mp4")
    assert whole(tmp_path / "in.mp4", tmp_path / "out.mp4", weights) == 2
    assert "in.mp4" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tasks", "deblur"), "Unknown task deblur"),
        (("--tasks", ""), "No task"),
        (("--steps", "0"), "steps"),
        (("--strength", "1.5"), "strength"),
        (("--guidance", "1", "2", "3"), "guidance"),
        (("--window", "3", "--overlap", "3"), "overlap"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--batch", "0"), "batch"),
        (("--reference-frame", "first"), "reference-frame"),
        (("--seed", "99999999999999999999"), "seed"),
        (("--guidance", "nan"), "guidance"),
        (("--keep-crop",), "do not go with whole frames"),
        (("--mask", "absent.png"), "absent.png"),
    ],
)
def test_parameters_out_of_range_are_named(weights, short_clip, tmp_path, capsys, options, message):
    assert whole(short_clip, tmp_path / "out.mp4", weights, *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_crop_sizes_that_do_not_fit_name_the_multiple(face_weights, tmp_path, capsys):
    source = portrait_video(tmp_path / "in.mp4")
    assert restore(source, tmp_path / "out.mp4", face_weights, "--size", "100") == 2
    assert "multiples of 16" in capsys.readouterr().err


def test_missing_weights_name_file_source_and_remedy(short_clip, tmp_path, capsys):
    assert whole(short_clip, tmp_path / "out.mp4", tmp_path / "nowhere") == 3
    message = capsys.readouterr().err
    assert "unet.pth" in message
    assert "huggingface.co/fffiloni/SVFR" in message
    assert "weights download --accept-license" in message


def interrupted(monkeypatch, stage):
    """Options with which a run is interrupted when it reports the stage."""

    class Interrupt:
        def __call__(self, name, done, total, preview=None):
            if name == stage:
                raise KeyboardInterrupt

    monkeypatch.setattr("svfr_model.commands.bar.ProgressBar", Interrupt)
    return [option for option in FAST if option != "--quiet"]


@pytest.mark.parametrize("stage", ["detect", "windows"])
def test_cancelling_leaves_neither_debug_video_nor_crops(face_weights, tmp_path, monkeypatch, stage):
    source = portrait_video(tmp_path / "in.mp4")
    before = sorted(tmp_path.iterdir())
    options = interrupted(monkeypatch, stage)
    options += ["--keep-crop", "--debug-video", str(tmp_path / "d.mp4")]
    code = main(["restore", str(source), str(tmp_path / "out.mp4"), "--weights", str(face_weights), *options])
    assert code == 130
    assert sorted(tmp_path.iterdir()) == before


STAGES = ["detect", "crop", "encode", "first windows", "first decode", "denoise", "decode", "paste"]


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_at_any_stage_leaves_no_file(face_weights, tmp_path, monkeypatch, capsys, stage):
    source = portrait_video(tmp_path / "in.mp4")
    before = sorted(tmp_path.iterdir())
    options = interrupted(monkeypatch, stage)
    code = main(["restore", str(source), str(tmp_path / "out.mp4"), "--weights", str(face_weights), *options])
    assert code == 130
    assert sorted(tmp_path.iterdir()) == before
    assert "nothing was written" in capsys.readouterr().err


def test_detection_runs_before_the_large_networks_are_loaded(face_weights, short_clip, tmp_path, monkeypatch):
    monkeypatch.setattr("svfr_model.runs.loader.load_unet", lambda *_, **__: pytest.fail("the UNet was loaded"))
    assert restore(short_clip, tmp_path / "out.mp4", face_weights) == 4


def test_weights_list_convert_and_refused_download(weights, tmp_path, capsys):
    assert main(["weights", "list", "--weights", str(weights)]) == 0
    listed = capsys.readouterr().out
    assert f"unet: {weights / 'unet.safetensors'}" in listed
    assert "yoloface_v5m: not found" in listed
    target = tmp_path / "half.safetensors"
    code = main(["weights", "convert", "unet", str(weights / "unet.safetensors"), str(target), "--dtype", "fp16"])
    assert code == 0
    assert target.stat().st_size < 0.6 * (weights / "unet.safetensors").stat().st_size
    assert main(["weights", "download", "--weights", str(tmp_path / "w")]) == 2
    assert "non-commercial" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_module_runs_as_a_command_and_prints_no_traceback(root, tmp_path):
    command = [sys.executable, "-m", "svfr_model", "restore", "absent.mp4", str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: absent.mp4")
    assert "Traceback" not in done.stderr


def test_a_job_frees_its_networks(face_weights, tmp_path):
    source = portrait_video(tmp_path / "in.mp4")
    assert restore(source, tmp_path / "out.mp4", face_weights) == 0
    gc.collect()
    networks = {"UNetSpatioTemporalConditionModel", "AutoencoderKLTemporalDecoder", "IResNet", "IdentityProjection"}
    assert not [thing for thing in gc.get_objects() if type(thing).__name__ in networks]
