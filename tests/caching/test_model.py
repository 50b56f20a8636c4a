"""The cache against a plain model: a list of entries, time counted by hand, SIEVE as in the paper's pseudo-code.

Both clocks move by any amount, each alone and both together, wall time also back. The model knows every end exactly.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from samovar.environment import environment
from tests.caching.clock import Clocks

KEYS = st.integers(0, 4)
TTLS = st.sampled_from([0.25, 1.0, 5.0, 60.0, None])
MOVES = st.integers(-40, 40).map(lambda quarters: quarters / 4)
FORWARD = st.integers(0, 40).map(lambda quarters: quarters / 4)


class Failed(Exception):
    pass


class Held:
    def __init__(self, key, value, ttl, stale, now):
        self.key, self.value, self.ttl, self.stale, self.visited = key, value, ttl, stale, False
        self.date(now)

    def date(self, now):
        self.expires = now + (float("inf") if self.ttl is None else self.ttl)
        self.dies = self.expires + self.stale


class CacheMachine(RuleBasedStateMachine):
    @initialize(maxsize=st.integers(1, 4), maxbytes=st.sampled_from([None, 12]))
    def begin(self, maxsize, maxbytes):
        self.clocks = Clocks()
        bound = {} if maxbytes is None else {"maxbytes": maxbytes, "sizeof": lambda value: value % 5}
        self.cache = self.clocks.cache(maxsize, **bound)
        self.maxsize, self.maxbytes = maxsize, maxbytes
        self.held = []  # the oldest first
        self.hand = None  # an entry, or None for the oldest
        self.now = 0.0  # the model's time: all that either clock has seen pass
        self.value = 0
        self.counts = dict.fromkeys(("hits", "misses", "loads", "load_errors", "evictions", "expirations", "stale"), 0)

    # Clocks. A reading follows each move, so that the two know of the same moves one by one.

    @rule(wall=MOVES, monotonic=FORWARD)
    def clocks_move(self, wall, monotonic):
        self.clocks.wall += wall
        self.clocks.monotonic += monotonic
        self.now += max(wall, monotonic)
        self.cache.ttl("read the clocks")

    @rule(seconds=FORWARD)
    def time_passes(self, seconds):
        self.clocks_move(seconds, seconds)

    @rule(seconds=FORWARD)
    def frozen(self, seconds):
        self.clocks_move(seconds, 0)

    # The model's own parts.

    def find(self, key):
        return next((held for held in self.held if held.key == key), None)

    def fresh(self, key):
        held = self.find(key)
        return held if held is not None and self.now < held.expires else None

    def take_out(self, held):
        if self.hand is held:
            after = self.held.index(held) + 1
            self.hand = self.held[after] if after < len(self.held) else None
        self.held.remove(held)

    def expire(self, limit=4):
        over = sorted((held for held in self.held if held.dies <= self.now), key=lambda held: (held.dies, held.order))
        for held in over[:limit]:
            self.take_out(held)
            self.counts["expirations"] += 1

    def evict(self):
        at = 0 if self.hand is None else self.held.index(self.hand)
        while self.held[at].visited:
            self.held[at].visited = False
            at = (at + 1) % len(self.held)
        self.hand = self.held[at]
        self.take_out(self.held[at])
        self.counts["evictions"] += 1

    order = 0

    def date(self, held):
        held.date(self.now)
        CacheMachine.order += 1
        held.order = CacheMachine.order

    def store(self, key, value, ttl, stale=0.0):
        new = Held(key, value, ttl, stale, self.now)
        self.date(new)
        old = self.find(key)
        if old is not None:
            self.take_out(old)
            new.visited = True
        self.expire()
        if self.maxbytes is not None:
            while sum(held.value % 5 for held in self.held) + value % 5 > self.maxbytes:
                self.evict()
        if len(self.held) >= self.maxsize:
            self.evict()
        self.held.append(new)

    def next_value(self):
        self.value += 1
        return self.value

    # What a user does.

    @rule(key=KEYS, ttl=TTLS)
    def set(self, key, ttl):
        value = self.next_value()
        self.cache.set(key, value, ttl=ttl)
        self.store(key, value, ttl)

    @rule(key=KEYS)
    def get(self, key):
        held = self.fresh(key)
        if held is None:
            self.counts["misses"] += 1
            assert self.cache.get(key, "nothing") == "nothing"
            self.expire()
        else:
            self.counts["hits"] += 1
            held.visited = True
            assert self.cache.get(key, "nothing") == held.value

    @rule(key=KEYS)
    def delete(self, key):
        assert self.cache.delete(key) is (self.fresh(key) is not None)
        if (held := self.find(key)) is not None:
            self.take_out(held)

    @rule(key=KEYS, ttl=TTLS)
    def touch(self, key, ttl):
        held = self.fresh(key)
        assert self.cache.touch(key, ttl) is (held is not None)
        if held is not None:
            if ttl is not None:
                held.ttl = ttl
            self.date(held)
            held.visited = True

    @rule(key=KEYS)
    def ttl(self, key):
        held = self.fresh(key)
        assert self.cache.ttl(key) == (None if held is None else held.expires - self.now)

    @rule()
    @precondition(lambda self: self.value % 7 == 0)
    def clear(self):
        self.cache.clear()
        self.held, self.hand = [], None

    @rule(
        key=KEYS,
        ttl=TTLS,
        stale=st.sampled_from([0.0, 2.0]),
        fails=st.booleans(),
        on_error=st.sampled_from(["raise", "stale"]),
    )
    def get_or_load(self, key, ttl, stale, fails, on_error):
        value = self.next_value()
        fresh = self.fresh(key)
        old = self.find(key)
        if old is not None and self.now >= min(old.dies, old.expires + stale):
            old = None

        def loader():
            if fails:
                raise Failed
            return value

        def load():
            self.counts["loads"] += 1
            if fails:
                self.counts["load_errors"] += 1
            else:
                self.store(key, value, ttl, stale)

        try:
            got = self.cache.get_or_load(key, loader, ttl, stale=stale, on_error=on_error)
        except Failed:
            got = Failed
        if fresh is not None:
            self.counts["hits"] += 1
            fresh.visited = True
            assert got == fresh.value
        elif old is not None and on_error == "raise":
            self.counts["stale"] += 1
            old.visited = True
            load()  # deferred, which outside the runtime means at once
            assert got == old.value
        else:
            self.counts["misses"] += 1
            self.expire()
            load()
            if fails and old is not None:
                self.counts["stale"] += 1
                assert got == old.value
            else:
                assert got == (Failed if fails else value)

    # What always holds.

    @invariant()
    def the_same_is_there(self):
        if not hasattr(self, "cache"):
            return
        fresh = {held.key: held.value for held in self.held if self.now < held.expires}
        # Not list(cache): that asks for len() first, which takes all out that has ended.
        assert list(iter(self.cache)) == [held.key for held in self.held if held.key in fresh]
        assert {key for key in range(5) if key in self.cache} == set(fresh)

    @rule()
    def counted(self):
        self.expire(limit=1000)
        stats = self.cache.stats()
        assert {name: getattr(stats, name) for name in self.counts} == self.counts
        assert stats.size == len(self.held) <= self.maxsize
        assert len(self.cache) == len(list(self.cache))
        assert self.cache._bytes == (0 if self.maxbytes is None else sum(held.value % 5 for held in self.held))


def quiet(level, message):
    assert "failed" in message


class TestCache(CacheMachine.TestCase):
    settings = settings(max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False)

    def setUp(self):
        from samovar import logs

        self._record, logs.record = logs.record, quiet
        assert not environment.running

    def tearDown(self):
        from samovar import logs

        logs.record = self._record
