"""`cached` on all that a user may put it on."""

import asyncio
import functools
import inspect
import sys

import pytest

from samovar import cached, hooks, warm
from samovar.caching import decorator


def test_a_function_is_called_once_for_each_set_of_arguments():
    calls = []

    @cached(ttl=60)
    def f(a, b=2, *, c=3):
        """Adds."""
        calls.append((a, b, c))
        return a + b + c

    assert [f(1), f(1), f(1, 2), f(2), f(1, c=4), f(1, c=4)] == [6, 6, 6, 7, 7, 7]
    assert calls == [(1, 2, 3), (1, 2, 3), (2, 2, 3), (1, 2, 4)]
    assert (f.__name__, f.__doc__, f.__module__) == ("f", "Adds.", __name__)
    assert f.__qualname__.endswith("<locals>.f")
    assert f.__wrapped__(1) == 6
    assert inspect.signature(f) == inspect.signature(f.__wrapped__)
    info = f.cache_info()
    assert (info.hits, info.misses, info.loads, info.size) == (2, 4, 4, 4)


def test_annotations_are_not_looked_at():
    """They may name what only a type checker imports."""
    source = "@cached(ttl=60)\ndef f(x: Nowhere) -> Nowhere:\n    return x\n"
    if sys.version_info < (3, 14):
        source = "from __future__ import annotations\n" + source
    scope = {"cached": cached, "__name__": __name__}
    exec(source, scope)
    assert scope["f"](1) == 1


def test_by_position_or_by_name_is_the_same():
    calls = []

    @cached(ttl=60)
    def f(a, b=2, c=3):
        calls.append((a, b, c))

    f(1, 5)
    f(a=1, b=5)
    f(b=5, a=1)
    f(1, b=5)
    assert len(calls) == 1
    f(1, c=5)  # c is not next after a
    f(a=1, c=5)
    f(c=5, a=1)
    assert calls == [(1, 5, 3), (1, 2, 5)]
    assert f.cache_delete(b=5, a=1)
    assert not f.cache_delete(1, 5)


def test_names_and_values_do_not_pass_for_positions():
    @cached(ttl=60)
    def f(*args, **kwargs):
        return args, kwargs

    seen = [f(), f(1), f(a=1), f("a", 1), f(("a", 1))]
    assert seen == [((), {}), ((1,), {}), ((), {"a": 1}), (("a", 1), {}), ((("a", 1),), {})]
    assert f(a=1, b=2) is f(b=2, a=1)
    assert f.cache_info().size == 6


def test_arguments_that_cannot_be_hashed():
    @cached(ttl=60)
    def f(event):
        return event["id"]

    with pytest.raises(
        TypeError, match=r"test_decorator.*f: an argument that cannot be hashed \(unhashable type: 'dict'\): "
    ):
        f({"id": 1})

    @cached(ttl=60, key=lambda event: event["id"])
    def g(event):
        return event["id"]

    assert g({"id": 1, "noise": 1}) == g({"id": 1, "noise": 2}) == 1
    assert g.cache_info().loads == 1
    assert g.cache_delete({"id": 1})

    @cached(ttl=60, key=lambda event: [event])
    def h(event):
        return 1

    with pytest.raises(TypeError, match=r"key= gave a key that cannot be hashed"):
        h(1)

    @cached(ttl=60)
    def broken(x):
        raise TypeError("the function's own")

    with pytest.raises(TypeError, match=r"^the function's own$"):
        broken(1)


def test_a_hash_that_raises_is_the_users_own():
    class Odd:
        def __hash__(self):
            raise ValueError("odd")

    @cached(ttl=60)
    def f(x):
        return x

    with pytest.raises(ValueError, match=r"^odd$"):
        f(Odd())


def test_methods():
    class Table:
        made = 0

        def __init__(self, name):
            self.name = name
            self.loads = 0

        @cached(ttl=60)
        def row(self, key):
            self.loads += 1
            return self.name, key

        @classmethod
        @cached(ttl=60)
        def count(cls):
            cls.made += 1
            return cls.made

        @staticmethod
        @cached(ttl=60)
        def pure(x):
            return [x]

        @property
        @cached(ttl=60)
        def once(self):
            self.loads += 1
            return self.loads

    a, b = Table("a"), Table("b")
    assert [a.row(1), a.row(key=1), b.row(1), b.row(1)] == [("a", 1)] * 2 + [("b", 1)] * 2
    assert (a.loads, b.loads) == (1, 1)
    assert a.row.cache_delete(a, 1)
    assert a.row(1) == ("a", 1)
    assert (a.loads, b.loads) == (2, 1)
    assert [Table.count(), Table.count(), a.count()] == [1, 1, 1]
    assert Table.pure(1) is a.pure(1)
    assert [a.once, a.once] == [3, 3]


def test_coroutine_functions():
    calls = []

    @cached(ttl=60)
    async def f(x):
        calls.append(x)
        return x * 2

    assert inspect.iscoroutinefunction(f)

    async def main():
        return [await f(1), await f(x=1), await f(2)]

    assert asyncio.run(main()) == [2, 2, 4]
    assert calls == [1, 2]
    with pytest.raises(TypeError, match=r"key="):
        asyncio.run(f([]))


def test_callable_objects_and_partials():
    class Adder:
        def __call__(self, x):
            return [x]

    add = cached(ttl=60)(Adder())
    assert add(1) is add(1)
    part = cached(ttl=60)(functools.partial(max, 3))
    assert part(5) == part(5) == 5
    assert part.cache_info().loads == 1
    assert cached(ttl=60)(len)("abc") == 3

    class Async:
        async def __call__(self):
            return 1

    assert asyncio.run(cached(ttl=60)(Async())()) == 1


def test_functions_of_the_same_name_share_nothing():
    def make(answer):
        @cached(ttl=60)
        def load():
            return answer

        load.__module__ = load.__wrapped__.__module__ = "same"
        return load

    one, two = make(1), make(2)
    assert (one(), two(), one(), two()) == (1, 2, 1, 2)
    one.cache_clear()
    assert (one.cache_info().size, two.cache_info().size) == (0, 1)


def test_ttl_and_maxsize(monkeypatch, clocks):
    monkeypatch.setattr(decorator, "TTLCache", clocks.cache)
    calls = []

    @cached(ttl=60, maxsize=2)
    def f(x):
        calls.append(x)
        return None

    assert [f(1), f(1)] == [None, None]
    clocks.run(60)
    f(1)
    assert calls == [1, 1]
    for x in range(5):
        f(x)
    assert f.cache_info().size == f.cache_info().maxsize == 2

    @cached(ttl=None)
    def g():
        calls.append("g")

    g()
    clocks.run(1e9)
    g()
    assert calls.count("g") == 1


def test_a_value_that_cannot_be_kept():
    with pytest.raises(TypeError, match="generator function"):

        @cached(ttl=60)
        def f():
            yield 1

    with pytest.raises(TypeError, match="generator function"):

        @cached(ttl=60)
        async def g():
            yield 1


def test_mistakes_are_told_where_they_are_made():
    with pytest.raises(TypeError, match="'ttl'"):

        @cached
        def f():
            pass

    with pytest.raises(TypeError, match="put @cached below"):

        class A:
            @cached(ttl=60)
            @property
            def f(self):
                pass

    with pytest.raises(TypeError, match=r"write @cached\(ttl=SECONDS\)"):
        cached(len, ttl=60)
    for arguments, message in [
        ({"ttl": 0}, "^ttl=0: give the seconds"),
        ({"ttl": -1}, "^ttl=-1"),
        ({"ttl": "60"}, "^ttl='60'"),
        ({"ttl": 60, "stale": -1}, "^stale=-1"),
        ({"ttl": 60, "on_error": "ignore"}, "on_error='ignore'"),
        ({"ttl": 60, "on_error": "stale"}, "needs stale=SECONDS"),
    ]:
        with pytest.raises(ValueError, match=message):
            cached(**arguments)
    with pytest.raises(ValueError, match="maxsize=0"):
        cached(ttl=60, maxsize=0)(len)


def test_above_staticmethod_or_classmethod_it_is_refused():
    for kind in (staticmethod, classmethod):
        with pytest.raises(TypeError, match="put @cached below"):
            cached(ttl=60)(kind(len))


def test_a_key_that_is_no_function():
    with pytest.raises(TypeError, match="key='id'"):
        cached(ttl=60, key="id")


def test_positional_only_parameters():
    @cached(ttl=60)
    def f(a, /, b=0):
        return [a, b]

    assert f(1) is f(1)
    with pytest.raises(TypeError, match="positional-only"):
        f(a=1)
    assert f(1, 2) is f(1, b=2)

    @cached(ttl=60)
    def g(a, /, **more):
        return [a, more]

    assert g(1, a=2) == [1, {"a": 2}]
    assert g(1) == [1, {}]


def test_by_position_or_by_name_where_the_parameters_can_be_read_off():
    @cached(ttl=60)
    def rest(x, *args, **more):
        return [x, args, more]

    assert rest(1) is rest(x=1)
    assert rest(1, 2) == [1, (2,), {}]
    assert rest(1, y=2) is rest(y=2, x=1)

    def plain(x, y=0):
        return [x, y]

    @functools.wraps(plain)
    def wrapper(*args, **kwargs):
        return plain(*args, **kwargs)

    wrapped = cached(ttl=60)(wrapper)
    assert wrapped(1) is wrapped(x=1)

    class Adder:
        def __call__(self, x):
            return [x]

        def method(self, x):
            return [x]

    add = cached(ttl=60)(Adder())
    assert add(1) is add(x=1)
    method = cached(ttl=60)(Adder().method)
    assert method(1) is method(x=1)
    part = cached(ttl=60)(functools.partial(plain, 1))
    assert part(2) is part(y=2)
    assert part() == [1, 0]


def test_a_builtin_function():
    kept = cached(ttl=60)(sorted)
    assert kept((2, 1)) is kept((2, 1))


def test_by_default_each_caller_tries_again():
    calls = []

    @cached(ttl=60)
    def f():
        calls.append(1)
        raise OSError

    for _ in range(2):
        with pytest.raises(OSError):
            f()
    assert len(calls) == 2


def test_a_wrapper_with_parameters_of_its_own_is_not_looked_through():
    def plain(x):
        return x

    @functools.wraps(plain)
    def by_position(*args, x=0):
        return [args, x]

    @functools.wraps(plain)
    def by_name(**kwargs):
        return kwargs

    f, g = cached(ttl=60)(by_position), cached(ttl=60)(by_name)
    assert (f(x=1), f(1)) == ([(), 1], [(1,), 0])
    assert g(x=1) == {"x": 1}
    with pytest.raises(TypeError, match="positional"):
        g(1)


def test_a_function_with_an_attribute_of_partials_is_none():
    for name in ("func", "keywords"):

        def f(x):
            return [x]

        setattr(f, name, print)
        kept = cached(ttl=60)(f)
        assert kept(1) is kept(x=1)


def test_annotations_are_the_functions():
    @cached(ttl=60)
    def f(x: int) -> str:
        return str(x)

    assert f.__annotations__ == {"x": int, "return": str}


def test_coroutine_functions_with_a_key():
    async def load(event):
        return [event["id"]]

    @functools.wraps(load)
    def hands_on(event):
        return load(event)

    async def main():
        for f in (load, hands_on):
            kept = cached(ttl=60, key=lambda event: event["id"])(f)
            assert await kept({"id": 1}) == [1]  # the first result of a wrapper is not kept
            assert await kept({"id": 1, "noise": 1}) is await kept({"id": 1, "noise": 2})

    asyncio.run(main())


def test_a_default_given_and_one_left_out_are_two_keys_as_for_lru_cache():
    for cache in (cached(ttl=60), functools.lru_cache):
        f = cache(lambda x=1: [x])
        assert f() == f(1)
        assert f() is not f(1)


def test_coroutine_functions_behind_partial_and_method_and_mark():
    async def double(x):
        return [2 * x]

    class Table:
        async def row(self, x):
            return [x]

    def marked(x):
        return double(x)

    marked._is_coroutine_mark = object()  # as inspect.markcoroutinefunction does it

    async def main():
        for f in (
            functools.partial(double),
            functools.partial(functools.partial(double), 4),
            Table().row,
            marked,
        ):
            kept = cached(ttl=60)(f)
            args = () if getattr(f, "args", ()) else (4,)
            assert await kept(*args) is await kept(*args)

    asyncio.run(main())


def test_a_wrapper_that_hands_a_coroutine_on_and_one_that_runs_it():
    calls = []

    async def load(x):
        calls.append(x)
        return [x]

    @functools.wraps(load)
    def hands_on(x):
        return load(x)

    @functools.wraps(load)
    def runs(x):
        return asyncio.run(load(x))

    kept = cached(ttl=60)(hands_on)

    async def main():
        return [await kept(1) for _ in range(3)]

    assert asyncio.run(main()) == [[1]] * 3
    kept = cached(ttl=60)(runs)
    assert [kept(2) for _ in range(3)] == [[2]] * 3
    assert calls == [1, 1, 2, 2]  # the first result tells what the wrapper does, and is not kept


def test_a_generator_function_behind_partial_and_wraps():
    def numbers(x):
        yield x

    with pytest.raises(TypeError, match="generator function"):
        cached(ttl=60)(functools.partial(numbers, 1))

    @cached(ttl=60)
    @functools.wraps(numbers)
    def wrapper(x):
        return numbers(x)

    with pytest.raises(TypeError, match="iterated over only once"):
        wrapper(1)


def test_clocks(clocks):
    @cached(ttl=60, clocks=(lambda: clocks.wall, lambda: clocks.monotonic))
    def f():
        return object()

    first = f()
    assert f() is first
    clocks.run(60)
    assert f() is not first


def test_its_types(tmp_path):
    """As a user's mypy sees them."""
    api = pytest.importorskip("mypy.api")
    (tmp_path / "user.py").write_text(
        """
from typing_extensions import assert_type
from samovar import cached

class A:
    @cached(ttl=60)
    def m(self, x: int) -> str:
        return ""

@cached(ttl=60)
def f(x: int) -> str:
    return ""

a = A()
assert_type(a.m(1), str)
assert_type(A.m(a, 1), str)
assert_type(A.m.cache_delete(a, 1), bool)
assert_type(a.m.cache_delete(a, 1), bool)
assert_type(A.m.cache_info().hits, int)
assert_type(f(1), str)
assert_type(f.cache_delete(1), bool)
f("")  # error
A.m.cache_delete(a, "")  # error
"""
    )
    out, err, _ = api.run(["--strict", "--cache-dir", str(tmp_path), "--no-error-summary", str(tmp_path / "user.py")])
    assert not err
    assert [line.split(":")[1] for line in out.splitlines() if ": error:" in line] == ["22", "23"], out


def test_a_cached_function_can_be_warmed_during_init():
    calls = []

    @warm
    @cached(ttl=60)
    def countries():
        calls.append(1)
        return ["GB"]

    hooks.run_warm()
    assert calls == [1]
    assert countries() == ["GB"]
    assert calls == [1]
