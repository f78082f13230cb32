"""The HTTP edge: what a service's `api.py` writes its endpoints with (SPEC §2; ARCHITECTURE, the chassis, 2 and 3)."""

from chassis.http.app import create_app
from chassis.http.arguments import FORM, BodyBy, CallerDep, RawBody, TxDep
from chassis.http.auth import Caller
from chassis.http.bodies import Body, UnixTime
from chassis.http.paging import Page, PageDep, RankedPageDep, Slice, paged
from chassis.http.problems import InvalidRequest, invalid
from chassis.http.router import TxRouter

__all__ = [
    "FORM",
    "Body",
    "BodyBy",
    "Caller",
    "CallerDep",
    "InvalidRequest",
    "Page",
    "PageDep",
    "RankedPageDep",
    "RawBody",
    "Slice",
    "TxDep",
    "TxRouter",
    "UnixTime",
    "create_app",
    "invalid",
    "paged",
]
