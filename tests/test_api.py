"""The public names of the library."""

import pytest

import svfr_model


@pytest.mark.parametrize("name", svfr_model.__all__)
def test_every_public_name_is_there_and_documented(name):
    thing = getattr(svfr_model, name)
    assert thing is not None
    if isinstance(thing, type) or callable(thing):
        assert name == "Callback" or thing.__doc__


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="unheard_of"):
        _ = svfr_model.unheard_of
