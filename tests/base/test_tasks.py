"""Task names, task sets and task vectors."""

import itertools

import pytest

from svfr_model.base.errors import InputError
from svfr_model.base.tasks import Task, parse_tasks, task_vector, tasks_from_vector


def test_vector_order_is_bfr_colorization_inpainting():
    assert task_vector([Task.BFR]) == (1, 0, 0)
    assert task_vector([Task.COLORIZATION]) == (0, 1, 0)
    assert task_vector([Task.INPAINTING]) == (0, 0, 1)


@pytest.mark.parametrize("vector", [v for v in itertools.product((0, 1), repeat=3) if any(v)])
def test_every_combination_survives_the_round_trip(vector):
    tasks = tasks_from_vector(vector)
    assert task_vector(tasks) == vector
    assert parse_tasks(",".join(task.value for task in tasks)) == tasks


def test_names_are_forgiving_about_case_and_blanks():
    assert parse_tasks(" BFR , inpainting,") == {Task.BFR, Task.INPAINTING}


@pytest.mark.parametrize("names", ["", " , ", []])
def test_no_task_is_refused(names):
    with pytest.raises(InputError, match="No task"):
        parse_tasks(names)


def test_unknown_task_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"Unknown task deblur.*bfr, colorization, inpainting"):
        parse_tasks("bfr,deblur")


@pytest.mark.parametrize("vector", [(1, 0), (0, 0, 0), (2, 0, 0), (0.5, 0, 0)])
def test_vectors_that_are_none_are_refused(vector):
    with pytest.raises(InputError):
        tasks_from_vector(vector)
