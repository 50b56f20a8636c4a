"""Two clocks that tests move, instead of sleeping."""

from samovar.caching import TTLCache


class Clocks:
    """wall and monotonic time in seconds. Quarters of a second are exact in both, so ends are met exactly."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.monotonic = 5_000.0

    def run(self, seconds: float) -> None:
        """Time passes as it does for a running environment."""
        self.wall += seconds
        self.monotonic += seconds

    def cache(self, *args, **kwargs) -> TTLCache:
        return TTLCache(*args, clocks=(lambda: self.wall, lambda: self.monotonic), **kwargs)
