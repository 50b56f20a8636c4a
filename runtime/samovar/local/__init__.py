"""Tools for a developer's machine: never in a layer or an image, and imported by nothing outside this folder."""
