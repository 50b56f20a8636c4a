"""A heavy heap: 400,000 objects created during INIT, and in every event cyclic garbage for the collector."""


class Node:
    def __init__(self, number: int) -> None:
        self.number = number
        self.peer = self


table = {f"key-{i}": [Node(i), {"value": i}] for i in range(100_000)}


def handler(event, context):  # type: ignore[no-untyped-def]
    for i in range(100):
        a, b = Node(i), Node(-i)
        a.peer, b.peer = b, a
    return {"keys": len(table)}
