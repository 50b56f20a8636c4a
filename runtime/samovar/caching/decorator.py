"""`cached`: keeps what a function returns. Knows functions, and how arguments make a key; all else is the store's."""

from samovar.caching.store import MISSING, TTLCache, check_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any, ParamSpec, Protocol, TypeVar

    from samovar.caching.store import OnError, Stats, Tier

    P = ParamSpec("P")
    R = TypeVar("R")

    class Cached(Protocol[P, R]):
        """A function whose results are kept."""

        __name__: str
        __wrapped__: Callable[P, R]

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., R]: ...
        def cache_info(self) -> Stats: ...
        def cache_clear(self) -> None: ...
        def cache_delete(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...


_COROUTINE, _GENERATORS = 0x80, 0x20 | 0x200  # inspect.CO_COROUTINE, CO_GENERATOR | CO_ASYNC_GENERATOR
_VARARGS = 0x04 | 0x08  # inspect.CO_VARARGS | CO_VARKEYWORDS


def cached(
    function: None = None,
    /,
    *,
    ttl: float | None,
    stale: float = 0.0,
    on_error: "OnError" = "raise",
    key: "Callable[..., Hashable] | None" = None,
    maxsize: int | None = None,
    tier: "Tier | None" = None,
) -> "Callable[[Callable[P, R]], Cached[P, R]]":
    """Keeps what the function returns for `ttl` seconds (None: while the environment lives), a value for each set of
    arguments.

    stale     seconds after the ttl in which callers get the old value at once, and one refresh is made after the
              response
    on_error  "stale": in that time callers load, and get the old value if that fails. By default they get the exception
    key       key(*args, **kwargs) makes the key; by default it is made of all the arguments
    maxsize   entries at most; by default 64 for each MB of the function's memory
    tier      a second tier that environments share, such as samovar.caching.redis_tier.RedisTier

    For functions, methods (the instance is part of the key, and is kept) and coroutine functions. One call at a time
    loads a key, the others wait for it. Each function has a cache of its own, and gets `cache_info()`, `cache_clear()`
    and `cache_delete(*args)`. Raises TypeError for a generator function; a call does so for arguments that cannot be
    hashed.
    """
    if function is not None:
        raise TypeError("cached needs a ttl: write @cached(ttl=SECONDS) above the function")
    check_times(ttl, stale)
    if on_error not in ("raise", "stale"):
        raise ValueError(f'on_error={on_error!r}: give "raise" or "stale"')
    if on_error == "stale" and not stale:
        raise ValueError(
            'on_error="stale" needs stale=SECONDS, the time after the ttl in which the old value may serve'
        )

    def decorate(f: "Callable[P, R]") -> "Cached[P, R]":
        wrapper: Cached[P, R] = _wrap(f, ttl, stale, on_error, key, maxsize, tier)
        return wrapper

    return decorate


def _wrap(
    f: "Any",
    ttl: float | None,
    stale: float,
    on_error: "OnError",
    key: "Callable[..., Hashable] | None",
    maxsize: int | None,
    tier: "Tier | None",
) -> "Any":
    if not callable(f):
        raise TypeError(f"cached: {f!r} is not callable; with staticmethod, classmethod or property, put @cached below")
    code = getattr(f, "__code__", None) or getattr(type(f).__call__, "__code__", None)
    flags = 0 if code is None else code.co_flags
    name = f"{getattr(f, '__module__', None)}.{getattr(f, '__qualname__', None) or type(f).__qualname__}"
    if flags & _GENERATORS:
        raise TypeError(f"{name} is a generator function: what it yields can be taken once only, return a list instead")
    if tier is not None and "<" in name:
        raise TypeError(f"{name} has no name that environments could share it by: define it in its module or class")
    cache = TTLCache(maxsize, ttl, tier=tier, name=name)
    get = cache.get

    names = code.co_varnames[: code.co_argcount] if code is not None and not flags & _VARARGS else ()
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
    if flags & _COROUTINE:

        async def load_async(at: "Hashable", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Any":
            return await cache.get_or_load_async(at, lambda: f(*args, **kwargs), ttl, stale=stale, on_error=on_error)

        async def call_async(*args: "Any", **kwargs: "Any") -> "Any":
            at = args if by_position and not kwargs else make_key(args, kwargs)
            try:
                value = get(at, missing)
            except TypeError as error:
                raise unhashable(error, at) from None
            return value if value is not missing else await load_async(at, args, kwargs)

        wrapper: Any = call_async
    else:

        def load(at: "Hashable", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Any":
            return cache.get_or_load(at, lambda: f(*args, **kwargs), ttl, stale=stale, on_error=on_error)

        def call(*args: "Any", **kwargs: "Any") -> "Any":
            at = args if by_position and not kwargs else make_key(args, kwargs)
            try:
                value = get(at, missing)
            except TypeError as error:
                raise unhashable(error, at) from None
            return value if value is not missing else load(at, args, kwargs)

        wrapper = call

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


def _by_position(args: "tuple[Any, ...]", kwargs: "dict[str, Any]", names: "tuple[str, ...]") -> "tuple[Any, ...]":
    """Arguments as a key. What was given by name goes to its position if it is next there, so that f(1) and f(x=1) are
    one.
    """
    if not kwargs:
        return args
    rest = dict(kwargs)
    while len(args) < len(names) and names[len(args)] in rest:
        args = (*args, rest.pop(names[len(args)]))
    if not rest:
        return args
    return (*args, _BY_NAME, *sorted(rest.items()))


_BY_NAME = "\0by name"  # between the arguments by position and those by name: a str, as a second tier's keys need
