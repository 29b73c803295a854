"""Every error this library raises on purpose.

Each message names what was found, what was needed and what to do next. The command line turns the class into its
exit code; the nodes show the message as it stands.
"""


class SVFRError(Exception):
    """Base of all errors of this library."""

    exit_code = 1


class InputError(SVFRError):
    """A clip, picture, mask or parameter that cannot be used."""

    exit_code = 2


class WeightsError(SVFRError):
    """A weight file that is missing, broken or of another architecture."""

    exit_code = 3


class NotFiniteError(SVFRError):
    """A network gave values that are no numbers, so there is no picture to show."""

    exit_code = 6


class FaceNotFoundError(SVFRError):
    """No face where one is needed."""

    exit_code = 4


class DependencyError(SVFRError):
    """An installed package that is missing or cannot do what is asked of it."""

    exit_code = 5
