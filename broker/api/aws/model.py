"""The service models that botocore ships: what every operation, shape and error of a service looks like.

Read once, at start; what is asked for each request is compiled from them (``protocols``). Never: anything written by
hand about a single operation.
"""

from functools import cache

import botocore.loaders
from botocore.model import ServiceModel


@cache
def service_model(name: str) -> ServiceModel:
    """The newest model of a service by botocore's name for it (``sqs``, ``sns``, ``kinesis``, ``events``, ``sts``)."""
    loader = botocore.loaders.Loader(include_default_search_paths=False, extra_search_paths=[_data_path()])
    return ServiceModel(loader.load_service_model(name, "service-2"), service_name=name)


def _data_path() -> str:
    return botocore.loaders.Loader.BUILTIN_DATA_PATH
