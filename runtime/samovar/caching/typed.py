"""`Cached`, the type of what `cached` makes, for annotations and type checkers. Knows nothing of the cache."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

    from samovar.caching.entries import Stats

    P = ParamSpec("P")
    Rest = ParamSpec("Rest")
    R_co = TypeVar("R_co", covariant=True)
    Self_contra = TypeVar("Self_contra", contravariant=True)
    Instance = TypeVar("Instance")

    class _Takes(Protocol[Self_contra, P, R_co]):
        def __call__(self, first: Self_contra, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    class _Bound(Protocol[P, R_co]):
        """A method whose results are kept, of an instance or a class."""

        __name__: str

        @property
        def __wrapped__(self) -> Callable[Concatenate[Any, P], R_co]: ...
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
        def cache_info(self) -> Stats: ...
        def cache_clear(self) -> None: ...
        def cache_delete(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> bool: ...

    class Cached(Protocol[P, R_co]):
        """A function whose results are kept."""

        __name__: str

        @property
        def __wrapped__(self) -> Callable[P, R_co]: ...
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

        # In this order: of a classmethod; of a class; of an instance; a staticmethod, whose first argument is none.
        @overload
        def __get__(self: _Takes[type[Any], Rest, R_co], instance: Any, owner: type) -> _Bound[Rest, R_co]: ...
        @overload
        def __get__(self, instance: None, owner: type) -> "Cached[P, R_co]": ...
        @overload
        def __get__(
            self: _Takes[Instance, Rest, R_co], instance: Instance, owner: type | None = None
        ) -> _Bound[Rest, R_co]: ...
        @overload
        def __get__(self, instance: object, owner: type | None = None) -> "Cached[P, R_co]": ...
        def cache_info(self) -> Stats: ...
        def cache_clear(self) -> None: ...
        def cache_delete(self, *args: P.args, **kwargs: P.kwargs) -> bool: ...

else:

    class Cached:
        """The type of a function under `cached`, for annotations: `Cached[[int], str]` takes an int and returns a str.

        It is called as the function is, and has `cache_info()`, `cache_clear()` and `cache_delete(*args)`. It is a name
        for type checkers: no object is an instance of it.
        """

        __class_getitem__ = classmethod(type(list[int]))
