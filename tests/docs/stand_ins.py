"""What the examples in the docs use without defining it: a database, and functions of the reader's own. The program
`./main` that some of them start is a copy of handlers/companion/hello.sh.
"""

import sqlite3
from typing import Any

db = sqlite3.connect(":memory:", check_same_thread=False)
db.executescript("""
    create table country (code text primary key, name text);
    insert into country values ('CI', 'Ivory Coast'), ('DE', 'Germany'), ('FR', 'France');
    create table setting (name text primary key, value text);
    insert into setting values ('greeting', 'Hello'), ('limit', '100');
""")
token = "example"


def audit(event: Any) -> None:
    print(f"audited {event}")


def fetch_configuration() -> dict[str, int]:
    return {"limit": 100}
