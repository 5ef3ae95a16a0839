"""What a person can put right: errors that name the value, the place and the way out."""


class FtlabError(Exception):
    """Anything that better input, a free disk or another setting would mend; the message says which."""


class ConfigError(FtlabError):
    """A run's configuration cannot be carried out as written."""


class DataError(FtlabError):
    """A dataset is missing, malformed or unfit for the method."""


class ModelError(FtlabError):
    """A reference names no usable model, or a model lacks what was asked of it."""


class RunError(FtlabError):
    """A run cannot be started, stopped, resumed or opened."""


class RatingError(FtlabError):
    """A rating, or the store it should go to, is refused."""
