"""For a developer's machine only: never in a layer or an image."""
