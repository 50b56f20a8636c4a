"""Greet in the caller's language. `handler` is what Lambda calls."""

import logging

from samovar import cached, warm

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


@warm  # loaded during INIT: the first caller finds it there
@cached(ttl=60, stale=300)  # then every minute, after a response: no caller waits
def greetings() -> dict[str, str]:
    """Load what takes time: a query, a secret, a configuration."""
    logger.info("loading the greetings")
    return {"de": "Guten Tag", "en": "Hello", "fr": "Bonjour"}


def handler(event: dict[str, str], context: object) -> dict[str, str]:
    language = event.get("language", "en")
    return {"message": f"{greetings()[language]}, {event['name']}!"}
