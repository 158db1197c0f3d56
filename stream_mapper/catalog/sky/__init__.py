"""Coordinates on the sky: frames of streams, rotations into them, the motion of the Sun, and tracks of streams."""
