from mangum.handlers import Handler as APIGateway
from mangum.handlers import Handler as HTTPGateway

__all__ = ["APIGateway", "HTTPGateway"]
