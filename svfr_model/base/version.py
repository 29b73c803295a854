"""The version of this package; a test compares it with pyproject.toml, which is not there wherever the package is."""

VERSION = "0.2.0"
