"""What Samovar costs beside its peers, measured in one run. `python -m bench` runs all of it."""
