"""`cached`: keeps what a function returns.

Knows functions, and how arguments make a key; what is kept, and for how long, is the store's business.
"""

from samovar.caching.entries import MISSING, Terms
from samovar.caching.store import TTLCache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from typing import Any, ParamSpec, TypeVar

    from samovar.caching.entries import Clocks, OnError, OnRestore, Tier
    from samovar.caching.typed import Cached

    P = ParamSpec("P")
    R = TypeVar("R")
    MakeKey = Callable[[tuple[Any, ...], dict[str, Any]], Hashable]


_COROUTINE, _GENERATORS = 0x80, 0x20 | 0x200  # inspect.CO_COROUTINE, CO_GENERATOR | CO_ASYNC_GENERATOR
_ANY = 0x04 | 0x08  # inspect.CO_VARARGS | CO_VARKEYWORDS


def cached(
    function: None = None,
    /,
    *,
    ttl: float | None,
    stale: float = 0.0,
    on_error: "OnError" = "raise",
    retry: float = 0.0,
    key: "Callable[..., Hashable] | None" = None,
    maxsize: int | None = None,
    tier: "Tier | None" = None,
    snapshot: "OnRestore" = "drop",
    clocks: "Clocks | None" = None,
) -> "Callable[[Callable[P, R]], Cached[P, R]]":
    """Keep what the function returns for `ttl` seconds, a value for each set of arguments.

    For functions, methods (the instance is part of the key, and is kept) and coroutine functions. One call at a time
    loads a key, the others wait for it. Each function has a cache of its own, and gets `cache_info()`, `cache_clear()`
    and `cache_delete(*args)`.

    `f(1)` and `f(x=1)` are one key if the parameters can be read off: for functions, methods, partials, objects whose
    class defines `__call__`, and wrappers with `functools.wraps` that take `(*args, **kwargs)`. A default that is given
    and one that is left out are two keys, as for `functools.lru_cache`.

    Args:
        ttl: seconds that a value lives; None until the environment ends.
        stale: seconds after the ttl in which callers get the old value at once, and one refresh is made after the
            response.
        on_error: with "stale", callers in that time load, and get the old value if that fails. By default they get
            the exception.
        retry: seconds after a failed load in which it is not tried again: callers get the old value while `stale`
            allows it, or else the same exception. By default each caller loads.
        key: `key(*args, **kwargs)` makes the key; by default it is made of all the arguments.
        maxsize: entries at most; by default 64 for each MB of the function's memory.
        tier: a second tier that environments share, such as `samovar.caching.RedisTier`.
        snapshot: with SnapStart, "keep" keeps what INIT has loaded for its ttl; by default an environment that is
            restored from a snapshot loads anew what has a ttl.
        clocks: wall time and a monotonic clock, both in seconds, for tests that move them.

    Raises:
        TypeError: for a generator function; in a call, for arguments that cannot be hashed, and if the function
            returns an iterator.
        ValueError: for times that cannot be.
    """
    if function is not None:
        raise TypeError("cached needs a ttl: write @cached(ttl=SECONDS) above the function")
    terms = Terms(ttl, stale, on_error, retry)
    if on_error == "stale" and not stale:
        raise ValueError(
            'on_error="stale" needs stale=SECONDS, the time after the ttl in which the old value may serve'
        )
    if key is not None and not callable(key):
        raise TypeError(f"key={key!r}: give a function of the arguments that makes the key")

    def decorate(f: "Callable[P, R]") -> "Cached[P, R]":
        name, flags, names, wraps_coroutine = _check(f, tier)
        others: dict[str, Any] = {} if clocks is None else {"clocks": clocks}
        cache = TTLCache(maxsize, ttl, tier=tier, name=name, snapshot=snapshot, **others)
        make_key = _make_key(names) if key is None else lambda args, kwargs: key(*args, **kwargs)
        wrapper: Any
        if flags & _COROUTINE:
            wrapper = _async(f, cache, terms, make_key, key is None)
        elif wraps_coroutine:
            wrapper = _either(f, cache, terms, make_key, key is None)
        else:
            wrapper = _sync(f, cache, terms, make_key, key is None)
        _dress(wrapper, f, cache, make_key)
        dressed: Cached[P, R] = wrapper
        return dressed

    return decorate


def _check(f: "Any", tier: "Tier | None") -> "tuple[str, int, tuple[str | None, ...], bool]":
    """Return the function's name and what `_inspected` says. Raises TypeError for what cannot be cached."""
    if not callable(f) or isinstance(f, (staticmethod, classmethod)):
        raise TypeError(
            f"cached: {f!r} is not a function; with staticmethod, classmethod or property, put @cached below"
        )
    inspected = _inspected(f)
    name = f"{getattr(f, '__module__', None)}.{getattr(f, '__qualname__', None) or type(f).__qualname__}"
    if inspected[0] & _GENERATORS:
        raise TypeError(f"{name} is a generator function: what it yields can be taken once only, return a list instead")
    if tier is not None and "<" in name:
        raise TypeError(f"{name} has no name that environments could share it by: define it in its module or class")
    return name, *inspected


# In the two functions below a hit is returned at once. What is not there is loaded by an inner function, because a
# lambda in the outer one would put args and kwargs into cells at every call.


def _sync(f: "Any", cache: TTLCache, terms: Terms, make_key: "MakeKey", by_position: bool) -> "Any":
    get, missing = cache.get, MISSING

    def load(key: "Hashable", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Any":
        return cache._load(key, lambda: f(*args, **kwargs), terms)

    def call(*args: "Any", **kwargs: "Any") -> "Any":
        key = args if by_position and not kwargs else make_key(args, kwargs)
        try:
            value = get(key, missing)
        except TypeError as error:
            raise _unhashable(error, key, cache.name, by_position) from None
        return value if value is not missing else load(key, args, kwargs)

    return call


def _async(f: "Any", cache: TTLCache, terms: Terms, make_key: "MakeKey", by_position: bool) -> "Any":
    get, missing = cache.get, MISSING

    def load(key: "Hashable", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Awaitable[Any]":
        return cache._load_async(key, lambda: f(*args, **kwargs), terms)

    async def call(*args: "Any", **kwargs: "Any") -> "Any":
        key = args if by_position and not kwargs else make_key(args, kwargs)
        try:
            value = get(key, missing)
        except TypeError as error:
            raise _unhashable(error, key, cache.name, by_position) from None
        return value if value is not missing else await load(key, args, kwargs)

    return call


def _either(f: "Any", cache: TTLCache, terms: Terms, make_key: "MakeKey", by_position: bool) -> "Any":
    """Around a coroutine function there may be a wrapper that hands the coroutine on, or one that runs it: the first
    result shows which, and is not kept.
    """
    decided: Any = None

    def call(*args: "Any", **kwargs: "Any") -> "Any":
        nonlocal decided
        if decided is None:
            result = f(*args, **kwargs)
            make = _async if hasattr(type(result), "__await__") else _sync
            decided = make(f, cache, terms, make_key, by_position)
            return result
        return decided(*args, **kwargs)

    return call


def _unhashable(error: TypeError, key: "Any", name: str, by_position: bool) -> TypeError:
    """Return the error to raise for one that the cache raised: another one if it is the key that cannot be hashed."""
    try:
        hash(key)
    except TypeError as why:
        what = "an argument" if by_position else "key= gave a key"
        return TypeError(f"{name}: {what} that cannot be hashed ({why}): give cached a key= that makes one")
    return error


def _dress(wrapper: "Any", f: "Any", cache: TTLCache, make_key: "MakeKey") -> None:
    """Give the wrapper the function's name and annotations, and the three `cache_` functions."""

    def cache_delete(*args: "Any", **kwargs: "Any") -> bool:
        """Forget the value for these arguments, the instance first for a method; return whether there was one."""
        return cache.delete(make_key(args, kwargs))

    # On Python 3.14 annotations are made when asked for, and what they name may not be there yet.
    annotations = "__annotate__" if hasattr(f, "__annotate__") else "__annotations__"
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", annotations, "__type_params__"):
        if hasattr(f, attribute):
            setattr(wrapper, attribute, getattr(f, attribute))
    wrapper.__dict__.update(getattr(f, "__dict__", {}))
    wrapper.__wrapped__ = f
    wrapper.cache_info = cache.stats
    wrapper.cache_clear = cache.clear
    wrapper.cache_delete = cache_delete


def _inspected(f: "Any") -> "tuple[int, tuple[str | None, ...], bool]":
    """Return a callable's code flags, its parameters by position (None for one that cannot be given by name), and
    whether it wraps a coroutine function without being one. Not by inspect, which is slow to import.
    """
    flags: int | None = None
    given = 0  # by a partial, or as the instance of a method
    while True:
        if hasattr(f, "func") and hasattr(f, "keywords"):  # functools.partial
            given += len(f.args)
            f = f.func
            continue
        if getattr(f, "__self__", None) is not None:
            given += 1
        code = getattr(f, "__code__", None)
        if code is None and (code := getattr(type(f).__call__, "__code__", None)) is not None:
            given += 1
        if code is None:
            return flags or 0, (), False
        if flags is None:
            flags = code.co_flags
            if getattr(f, "_is_coroutine_mark", None) is not None:  # inspect.markcoroutinefunction
                flags |= _COROUTINE
        if code.co_argcount or code.co_flags & _ANY != _ANY or not hasattr(f, "__wrapped__"):
            break
        f = f.__wrapped__
    by_position_alone: tuple[None, ...] = (None,) * code.co_posonlyargcount
    names = (*by_position_alone, *code.co_varnames[code.co_posonlyargcount : code.co_argcount])[given:]
    while hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    inner = getattr(getattr(f, "__code__", None), "co_flags", 0)
    return flags, names, bool(inner & _COROUTINE) and not flags & _COROUTINE


def _make_key(names: "tuple[str | None, ...]") -> "MakeKey":
    """Return a function that makes a key of all the arguments. What is given by name goes to its position if that is
    next, so that f(1) and f(x=1) are one key.
    """

    def make_key(args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "tuple[Any, ...]":
        if not kwargs:
            return args
        rest = dict(kwargs)
        while len(args) < len(names) and (name := names[len(args)]) is not None and name in rest:
            args = (*args, rest.pop(name))
        return (*args, _BY_NAME, *sorted(rest.items())) if rest else args

    return make_key


_BY_NAME = "\0by name"  # between the arguments by position and those by name: a str, as a second tier's keys need
