"""Write to the file that GOODBYE names when the environment ends."""

import os

import samovar


@samovar.on_shutdown
def goodbye():
    with open(os.environ["GOODBYE"], "w") as file:
        file.write("bye")


def handler(event, context):
    return "hello"
