class ConfigurationError(Exception):
    pass


class LifespanFailure(Exception):
    pass
