"""`CompanionError`: what a call of a companion raises. Knows `Fault`, as which it is reported, and no process."""

from samovar.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["NotStarted", "Ended", "Silent", "BadAnswer", "BadEvent", "Busy", "Forked", "Error"]


class CompanionError(Fault):
    """A companion did not answer, or answered with an error. As an exception of the handler it fails the invocation.

    Attributes:
        kind: What happened:
            `NotStarted`: the program cannot be started;
            `Ended`: it exited, crashed or was killed, or its `Companion` has been closed;
            `Silent`: it did not answer in time;
            `BadAnswer`: it wrote something that is not an answer;
            `Busy`: no worker was free in time;
            `Forked`: the `Companion` belongs to the parent process;
            `BadEvent`: the event of `call_raw` is not JSON;
            `Error`: the program answered with an error of its own.
        error_type: The `errorType` that Lambda gets: `Companion.` and the kind, with two exceptions. For `Error` it is
            the type that the program gave its error, if it gave one; for `BadEvent` it is `Runtime.UnmarshalError`.
        message: What is known about it, as `str` has it.
        fatal: Whether the environment ends once the error is reported: the fourth failure in a row.
    """

    def __init__(self, kind: "Kind", message: str, error_type: str = "", fatal: bool = False) -> None:
        super().__init__(error_type or f"Companion.{kind}", message, fatal=fatal)
        self.kind: Kind = kind

    def __reduce__(self) -> "tuple[type[CompanionError], tuple[Kind, str, str, bool]]":
        """Return how to make it anew: `pickle` takes it to another process, as of a pool."""
        return type(self), (self.kind, self.message, self.error_type, self.fatal)
