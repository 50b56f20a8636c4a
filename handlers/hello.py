"""The smallest function: it imports nothing, and its count lives as long as the environment does."""

count = 0


def handler(event, context):
    global count
    count += 1
    name = event.get("name", "world") if isinstance(event, dict) else "world"
    return {"message": f"Hello, {name}!", "count": count}
