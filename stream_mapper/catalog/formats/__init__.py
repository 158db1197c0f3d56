"""Formats of files, one file each, and how catalogues are cut into parts."""
