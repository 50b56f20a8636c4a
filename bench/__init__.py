"""Samovar's costs beside those of its peers, measured in one run. `python -m bench` runs everything."""
