"""A fingerprint is another one exactly where the result may be another one."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest
from support import odd_files as odd

from svfr_model.base.errors import WeightsError
from svfr_model.base.tasks import parse_tasks
from svfr_model.engine.options import RestoreOptions
from svfr_model.faces.options import CropOptions
from svfr_model.files.digests import Digests
from svfr_model.runs import fingerprint as prints
from svfr_model.runs.fingerprint import fingerprint
from svfr_model.runs.loader import Loader
from svfr_model.runs.options import FaceOptions
from svfr_model.runs.restore_file import Job
from svfr_model.runs.stc_file import EnhanceJob
from svfr_model.weights import weight_file


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for role in ("unet", "vae", "insightface_glint360k", "id_linear", "stc_bfr", "stc_deflicker"):
        (folder / Path(weight_file(role).name)).write_text(role)
    return folder


@pytest.fixture
def loader(weights):
    return Loader(folders=[weights], device="cpu")


@pytest.fixture
def job(tmp_path):
    odd.clip()(tmp_path / "in.mp4")
    odd.portrait(64)(tmp_path / "anna.png")
    odd.mask()(tmp_path / "mask.png")
    return Job(
        tmp_path / "in.mp4", tmp_path / "out.mp4", parse_tasks("bfr,inpainting"), RestoreOptions(), FaceOptions(),
        mask=tmp_path / "mask.png", identity=(tmp_path / "anna.png",),
    )  # fmt: skip


def digest(job, loader):
    return fingerprint(job, loader, Digests()).digest


def test_the_same_is_the_same_wherever_it_lies_and_goes(job, loader, tmp_path):
    before = digest(job, loader)
    assert len(before) == 64
    assert digest(job, loader) == before
    moved = tmp_path / "elsewhere.mov"
    job.source.rename(moved)
    assert digest(replace(job, source=moved, target=tmp_path / "x" / "other.mp4"), loader) == before
    (tmp_path / "weights").rename(tmp_path / "w")
    assert digest(replace(job, source=moved), replace(loader, folders=[tmp_path / "w"])) == before


def changes(job, tmp_path):
    """Jobs that give something else."""
    yield replace(job, target=tmp_path / "out.mkv")
    yield replace(job, tasks=parse_tasks("bfr"))
    yield replace(job, options=replace(job.options, seed=78))
    yield replace(job, faces=replace(job.faces, crop=CropOptions(margin=0.5)))
    yield replace(job, faces=replace(job.faces, choice="left"))
    yield replace(job, faces=None)
    yield replace(job, mask=None)
    yield replace(job, identity=())
    yield replace(job, reference=tmp_path / "anna.png")
    yield replace(job, keep_crop=True)
    yield replace(job, debug=tmp_path / "debug.mp4")


def test_everything_that_changes_the_result_counts(job, loader, tmp_path):
    seen = [digest(job, loader)]
    seen += [digest(other, loader) for other in changes(job, tmp_path)]
    loading = ({"dtype": "bf16"}, {"threshold": 0.7}, {"device": "auto"})
    seen += [digest(job, replace(loader, **other)) for other in loading]
    odd.portrait(72)(tmp_path / "anna.png")
    seen.append(digest(job, loader))
    odd.clip(4)(job.source)
    seen.append(digest(job, loader))
    (tmp_path / "weights" / weight_file("unet").name).write_text("another")
    seen.append(digest(job, loader))
    job.source.unlink()
    seen.append(digest(job, loader))
    assert len(set(seen)) == len(seen)


def test_every_field_of_a_job_is_in_it(job, loader):
    found = fingerprint(job, loader, Digests())
    assert {field.name for field in fields(Job)} - set(found.options) == {"source", "work"}
    assert set(found.weights) == {"unet", "vae", "yunet", "insightface_glint360k", "id_linear"}
    assert all(len(value) == 64 for value in (found.source, *found.weights.values()))


def test_another_version_counts(job, loader):
    found = fingerprint(job, loader, Digests())
    assert replace(found, version="0.0.1").digest != found.digest
    assert found.version == prints.VERSION


def test_stc_has_one_too(job, loader):
    crops = EnhanceJob(job.source, job.target)
    whole = replace(crops, tasks=("deflicker",))
    assert set(fingerprint(crops, loader, Digests()).weights) == {"stc_bfr", "yunet"}
    assert set(fingerprint(whole, loader, Digests()).weights) == {"stc_deflicker"}
    seen = [digest(entry, loader) for entry in (job, crops, whole, replace(crops, whole=True), replace(crops, faces=0))]
    assert len(set(seen)) == 5


def test_weights_that_are_missing_are_named(job, loader, weights):
    (weights / weight_file("unet").name).unlink()
    with pytest.raises(WeightsError, match="unet"):
        fingerprint(job, loader, Digests())


def test_a_job_can_be_sent_to_another_process(job, loader):
    assert pickle.loads(pickle.dumps((job, loader))) == (job, loader)
