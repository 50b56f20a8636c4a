from mangum.handlers import Handler as LambdaAtEdge

__all__ = ["LambdaAtEdge"]
