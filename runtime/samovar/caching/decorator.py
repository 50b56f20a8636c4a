"""`cached`: keeps what a function returns. Knows functions, and how arguments make a key; all else is the store's."""

from samovar.caching.store import MISSING, TTLCache, check_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any, ParamSpec, Protocol, TypeVar, overload

    from samovar.caching.store import Clocks, OnError, Stats, Tier

    P = ParamSpec("P")
    R = TypeVar("R")

    class Cached(Protocol[P, R]):
        """A function whose results are kept."""

        __name__: str
        __wrapped__: Callable[P, R]

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
        @overload
        def __get__(self, instance: None, owner: type) -> "Cached[P, R]": ...
        @overload
        def __get__(self, instance: Any, owner: type | None = None) -> "Cached[..., R]": ...
        def cache_info(self) -> Stats: ...
        def cache_clear(self) -> None: ...
        def cache_delete(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...


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
    clocks: "Clocks | None" = None,
) -> "Callable[[Callable[P, R]], Cached[P, R]]":
    """Keeps what the function returns for `ttl` seconds (None: while the environment lives), a value for each set of
    arguments.

    stale     seconds after the ttl in which callers get the old value at once, and one refresh is made after the
              response
    on_error  "stale": in that time callers load, and get the old value if that fails. By default they get the exception
    retry     seconds after a failed load in which it is not tried again: callers get the old value where `stale` still
              allows it, or else the same exception. By default each caller loads
    key       key(*args, **kwargs) makes the key; by default it is made of all the arguments
    maxsize   entries at most; by default 64 for each MB of the function's memory
    tier      a second tier that environments share, such as samovar.caching.redis_tier.RedisTier
    clocks    wall time and a monotonic clock, both in seconds, for tests that move them

    For functions, methods (the instance is part of the key, and is kept) and coroutine functions. One call at a time
    loads a key, the others wait for it. Each function has a cache of its own, and gets `cache_info()`, `cache_clear()`
    and `cache_delete(*args)`. Raises TypeError for a generator function; a call does so for arguments that cannot be
    hashed, and where the function gives an iterator.

    f(1) and f(x=1) are one key where the parameters can be read off: for functions, methods, partials, objects whose
    class defines __call__, and wrappers with functools.wraps that take (*args, **kwargs). A default that is given and
    one that is left out are two, as for functools.lru_cache.
    """
    if function is not None:
        raise TypeError("cached needs a ttl: write @cached(ttl=SECONDS) above the function")
    check_times(ttl, stale, on_error, retry)
    if on_error == "stale" and not stale:
        raise ValueError(
            'on_error="stale" needs stale=SECONDS, the time after the ttl in which the old value may serve'
        )
    if key is not None and not callable(key):
        raise TypeError(f"key={key!r}: give a function of the arguments that makes the key")

    def decorate(f: "Callable[P, R]") -> "Cached[P, R]":
        wrapper: Cached[P, R] = _wrap(f, ttl, stale, on_error, retry, key, maxsize, tier, clocks)
        return wrapper

    return decorate


def _wrap(
    f: "Any",
    ttl: float | None,
    stale: float,
    on_error: "OnError",
    retry: float,
    key: "Callable[..., Hashable] | None",
    maxsize: int | None,
    tier: "Tier | None",
    clocks: "Clocks | None",
) -> "Any":
    if not callable(f) or isinstance(f, (staticmethod, classmethod)):
        raise TypeError(f"cached: {f!r} is no function; with staticmethod, classmethod or property, put @cached below")
    flags, names, wraps_coroutine = _inspected(f)
    name = f"{getattr(f, '__module__', None)}.{getattr(f, '__qualname__', None) or type(f).__qualname__}"
    if flags & _GENERATORS:
        raise TypeError(f"{name} is a generator function: what it yields can be taken once only, return a list instead")
    if tier is not None and "<" in name:
        raise TypeError(f"{name} has no name that environments could share it by: define it in its module or class")
    others: dict[str, Any] = {} if clocks is None else {"clocks": clocks}
    cache = TTLCache(maxsize, ttl, tier=tier, name=name, **others)
    get = cache.get

    by_position = key is None
    missing = MISSING

    def make_key(args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Hashable":
        return _by_position(args, kwargs, names) if key is None else key(*args, **kwargs)

    def unhashable(error: TypeError, at: "Any") -> TypeError:
        try:
            hash(at)
        except TypeError as why:
            what = "an argument" if key is None else "key= gave a key"
            return TypeError(f"{name}: {what} that cannot be hashed ({why}): give cached a key= that makes one")
        return error

    # Both ways what is found is given back at once. What is not is loaded by another function, because a lambda in this
    # one would put args and kwargs into cells at every call.
    async def load_async(at: "Hashable", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Any":
        return await cache.get_or_load_async(
            at, lambda: f(*args, **kwargs), ttl, stale=stale, on_error=on_error, retry=retry
        )

    async def call_async(*args: "Any", **kwargs: "Any") -> "Any":
        at = args if by_position and not kwargs else make_key(args, kwargs)
        try:
            value = get(at, missing)
        except TypeError as error:
            raise unhashable(error, at) from None
        return value if value is not missing else await load_async(at, args, kwargs)

    def load(at: "Hashable", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Any":
        return cache.get_or_load(at, lambda: f(*args, **kwargs), ttl, stale=stale, on_error=on_error, retry=retry)

    def call(*args: "Any", **kwargs: "Any") -> "Any":
        at = args if by_position and not kwargs else make_key(args, kwargs)
        try:
            value = get(at, missing)
        except TypeError as error:
            raise unhashable(error, at) from None
        return value if value is not missing else load(at, args, kwargs)

    decided: Any = None

    def call_wrapper(*args: "Any", **kwargs: "Any") -> "Any":
        """Around a coroutine function there may be a wrapper that hands the coroutine on, or one that runs it: the
        first result tells, and is not kept.
        """
        nonlocal decided
        if decided is None:
            result = f(*args, **kwargs)
            decided = call_async if hasattr(type(result), "__await__") else call
            return result
        return decided(*args, **kwargs)

    wrapper: Any = call_async if flags & _COROUTINE else call_wrapper if wraps_coroutine else call

    def cache_delete(*args: "Any", **kwargs: "Any") -> bool:
        """Forgets the value for these arguments; whether there was one. For a method the instance is the first."""
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
    return wrapper


def _inspected(f: "Any") -> "tuple[int, tuple[str | None, ...], bool]":
    """Return a callable's code flags, its parameters by position (None for one that cannot be given by name), and
    whether it wraps a coroutine function and is none itself. Not by inspect, which takes 10 ms to import.
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


def _by_position(
    args: "tuple[Any, ...]", kwargs: "dict[str, Any]", names: "tuple[str | None, ...]"
) -> "tuple[Any, ...]":
    """Arguments as a key. What was given by name goes to its position if it is next there, so that f(1) and f(x=1) are
    one.
    """
    if not kwargs:
        return args
    rest = dict(kwargs)
    while len(args) < len(names) and (name := names[len(args)]) is not None and name in rest:
        args = (*args, rest.pop(name))
    if not rest:
        return args
    return (*args, _BY_NAME, *sorted(rest.items()))


_BY_NAME = "\0by name"  # between the arguments by position and those by name: a str, as a second tier's keys need
