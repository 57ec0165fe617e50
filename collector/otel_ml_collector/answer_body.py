"""The base of the JSON bodies that responses consist of."""

from pydantic import BaseModel, ConfigDict


class AnswerBody(BaseModel):
    """The JSON body of a response, or a part of it, whose validators are built at its first use.

    Pydantic usually builds them when a class is declared. For about 200 bodies this takes a fifth
    of the time to import the collector, and most processes use only some of them. The parameters
    and the body of a request are no such bodies: FastAPI hides warnings that pydantic gives about
    them only while it analyses a route.
    """

    model_config = ConfigDict(defer_build=True)
