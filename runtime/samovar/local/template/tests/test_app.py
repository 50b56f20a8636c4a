import pytest
from samovar.local import RIE

import app


@pytest.mark.usefixtures("samovar_fresh")  # caches are empty
def test_the_greeting_is_in_the_callers_language() -> None:
    event = {"name": "Ada", "language": "fr"}
    assert app.handler(event, None) == {"message": "Bonjour, Ada!"}


@pytest.mark.samovar("app.handler", task_root="src")  # under AWS's own emulator
def test_one_load_serves_every_invocation(rie: RIE) -> None:
    assert rie.invoke({"name": "Ada"}).json() == {"message": "Hello, Ada!"}
    assert rie.invoke({"name": "Bob"}).json() == {"message": "Hello, Bob!"}
    loads = [line for line in rie.log().lines if "loading the greetings" in line]
    assert len(loads) == 1
