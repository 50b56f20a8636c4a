"""The application as a handler of AWS's client."""

from mangum import Mangum
from web import app  # type: ignore[import-not-found]

handler = Mangum(app)  # runs the application's start-up and shutdown for every event
without_lifespan = Mangum(app, lifespan="off")
