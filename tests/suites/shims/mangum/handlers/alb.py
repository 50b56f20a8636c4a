from mangum.handlers import Handler as ALB

__all__ = ["ALB"]
