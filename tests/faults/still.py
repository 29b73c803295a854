"""Rows that do not hold yet, and why. Each must fail, so that its line goes with the fault."""

STILL: dict[str, str] = {
    "input: its last tenth missing": "a lost last frame is named only where the container states a count",
}
