"""Files on a disk: what may be written where, and outputs that appear whole or not at all."""
