"""Rows that do not hold yet, and why. Each must fail, so that its line goes with the fault."""

STILL: dict[str, str] = {
    "input: a leading dash": "the message names OUT as missing, not the word that was taken for an option",
    "output: a link to nowhere": "the message calls a folder that is not there a file, and does not name the link",
    "input: its last tenth missing": "a lost last frame is named only where the container states a count",
}
