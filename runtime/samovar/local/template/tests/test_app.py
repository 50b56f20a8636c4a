import app
import pytest

from samovar.local.rie import RIE


def test_the_greeting_is_in_the_callers_language() -> None:
    assert app.handler({"name": "Ada", "language": "fr"}, None) == {"message": "Bonjour, Ada!"}


@pytest.mark.samovar("app.handler", task_root="src")  # `rie` is a Lambda environment, under AWS's own emulator
def test_one_load_serves_every_invocation(rie: RIE) -> None:
    assert rie.invoke({"name": "Ada"}).json() == {"message": "Hello, Ada!"}
    assert rie.invoke({"name": "Bob"}).json() == {"message": "Hello, Bob!"}
    assert len([line for line in rie.log().lines if "loading the greetings" in line]) == 1
