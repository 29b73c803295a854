"""svfr-tiny and stc-tiny: what trains them, what measures them, and the demonstration with them."""
