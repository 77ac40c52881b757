"""anycap: an asyncio and trio client for captcha-solving services, with one error language for all of them.

Names are resolved when first used (PEP 562), so `import anycap` imports nothing else. `_MODULE_OF` says where each
public name lives; `tests/smoke/test_import.py` and `tests/typing` keep it, `__all__` and the imports below the same.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without importing typing
if TYPE_CHECKING:
    from anycap.accounts import Account as Account
    from anycap.callbacks import CallbackAnswer as CallbackAnswer
    from anycap.challenges import Alibaba as Alibaba
    from anycap.challenges import Altcha as Altcha
    from anycap.challenges import AmazonWaf as AmazonWaf
    from anycap.challenges import AntiGate as AntiGate
    from anycap.challenges import AudioToText as AudioToText
    from anycap.challenges import Binance as Binance
    from anycap.challenges import Challenge as Challenge
    from anycap.challenges import ComplexImage as ComplexImage
    from anycap.challenges import FriendlyCaptcha as FriendlyCaptcha
    from anycap.challenges import FunCaptcha as FunCaptcha
    from anycap.challenges import FunCaptchaGrid as FunCaptchaGrid
    from anycap.challenges import GeeTestV3 as GeeTestV3
    from anycap.challenges import GeeTestV4 as GeeTestV4
    from anycap.challenges import HCaptcha as HCaptcha
    from anycap.challenges import HCaptchaGrid as HCaptchaGrid
    from anycap.challenges import ImageToCoordinates as ImageToCoordinates
    from anycap.challenges import ImageToText as ImageToText
    from anycap.challenges import MTCaptcha as MTCaptcha
    from anycap.challenges import Prosopo as Prosopo
    from anycap.challenges import Proxy as Proxy
    from anycap.challenges import RecaptchaGrid as RecaptchaGrid
    from anycap.challenges import RecaptchaV2 as RecaptchaV2
    from anycap.challenges import RecaptchaV3 as RecaptchaV3
    from anycap.challenges import RotateImage as RotateImage
    from anycap.challenges import Tencent as Tencent
    from anycap.challenges import TextQuestion as TextQuestion
    from anycap.challenges import Turnstile as Turnstile
    from anycap.challenges import VendorTask as VendorTask
    from anycap.challenges import Yidun as Yidun
    from anycap.client import Client as Client
    from anycap.credentials import Secret as Secret
    from anycap.engine.health import AccountHealth as AccountHealth
    from anycap.engine.health import ClientHealth as ClientHealth
    from anycap.engine.health import Readiness as Readiness
    from anycap.engine.runtime import Runtime as Runtime
    from anycap.errors import AccountError as AccountError
    from anycap.errors import AnycapError as AnycapError
    from anycap.errors import BlockedError as BlockedError
    from anycap.errors import BudgetError as BudgetError
    from anycap.errors import BusyError as BusyError
    from anycap.errors import ChallengeError as ChallengeError
    from anycap.errors import ClientClosed as ClientClosed
    from anycap.errors import ConfigurationError as ConfigurationError
    from anycap.errors import DeadlineError as DeadlineError
    from anycap.errors import EngineBroken as EngineBroken
    from anycap.errors import Fenced as Fenced
    from anycap.errors import InDoubtError as InDoubtError
    from anycap.errors import InvalidChallenge as InvalidChallenge
    from anycap.errors import JournalError as JournalError
    from anycap.errors import KeyMismatch as KeyMismatch
    from anycap.errors import ProxyError as ProxyError
    from anycap.errors import RefusedError as RefusedError
    from anycap.errors import ReportRefused as ReportRefused
    from anycap.errors import RequestError as RequestError
    from anycap.errors import ServiceError as ServiceError
    from anycap.errors import SolutionExpired as SolutionExpired
    from anycap.errors import SolveError as SolveError
    from anycap.errors import StoreError as StoreError
    from anycap.errors import TicketError as TicketError
    from anycap.errors import TransportError as TransportError
    from anycap.errors import UnsolvedError as UnsolvedError
    from anycap.errors import UnsupportedMethod as UnsupportedMethod
    from anycap.events import AccountEvent as AccountEvent
    from anycap.events import ChargeEvent as ChargeEvent
    from anycap.events import ClientWatcher as ClientWatcher
    from anycap.events import Event as Event
    from anycap.events import EventKind as EventKind
    from anycap.events import FailoverEvent as FailoverEvent
    from anycap.events import ReportEvent as ReportEvent
    from anycap.events import ReportVolumeEvent as ReportVolumeEvent
    from anycap.events import RequestEvent as RequestEvent
    from anycap.events import RoutedEvent as RoutedEvent
    from anycap.events import SolveEvent as SolveEvent
    from anycap.events import WarningEvent as WarningEvent
    from anycap.journal.port import Journal as Journal
    from anycap.normalize import explain as explain
    from anycap.normalize import normalize as normalize
    from anycap.outcomes import Outcome as Outcome
    from anycap.queues import Queue as Queue
    from anycap.results import AngleSolution as AngleSolution
    from anycap.results import Balance as Balance
    from anycap.results import CellsSolution as CellsSolution
    from anycap.results import CookiesSolution as CookiesSolution
    from anycap.results import CoordinatesSolution as CoordinatesSolution
    from anycap.results import GeeTestSolution as GeeTestSolution
    from anycap.results import QueueStats as QueueStats
    from anycap.results import RawSolution as RawSolution
    from anycap.results import Receipt as Receipt
    from anycap.results import RouteStep as RouteStep
    from anycap.results import Solution as Solution
    from anycap.results import SpendingLine as SpendingLine
    from anycap.results import TencentSolution as TencentSolution
    from anycap.results import TextSolution as TextSolution
    from anycap.results import TokenSolution as TokenSolution
    from anycap.settings import GuardSettings as GuardSettings
    from anycap.settings import HttpSettings as HttpSettings
    from anycap.settings import JournalSettings as JournalSettings
    from anycap.settings import Polling as Polling
    from anycap.settings import RetrySettings as RetrySettings
    from anycap.settings import RoutingSettings as RoutingSettings
    from anycap.settings import Settings as Settings
    from anycap.shared.settings import Shared as Shared
    from anycap.taxonomy import Category as Category
    from anycap.taxonomy import Charged as Charged
    from anycap.taxonomy import Code as Code
    from anycap.taxonomy import ErrorRow as ErrorRow
    from anycap.taxonomy import Retry as Retry
    from anycap.taxonomy import Scope as Scope
    from anycap.tickets import Attempt as Attempt
    from anycap.tickets import Ticket as Ticket
    from anycap.tickets import TicketInfo as TicketInfo
    from anycap.tickets import TicketState as TicketState
    from anycap.transport.port import Transport as Transport

__version__ = "0.1.0"

_NAMES_IN = {
    "engine.health": "AccountHealth ClientHealth Readiness",
    "engine.runtime": "Runtime",
    "accounts": "Account",
    "callbacks": "CallbackAnswer",
    "challenges": (
        "Alibaba Altcha AmazonWaf AntiGate AudioToText Binance Challenge ComplexImage FriendlyCaptcha FunCaptcha "
        "FunCaptchaGrid GeeTestV3 GeeTestV4 HCaptcha HCaptchaGrid ImageToCoordinates ImageToText MTCaptcha Prosopo "
        "Proxy RecaptchaGrid RecaptchaV2 RecaptchaV3 RotateImage Tencent TextQuestion Turnstile VendorTask Yidun"
    ),
    "client": "Client",
    "credentials": "Secret",
    "errors": (
        "AccountError AnycapError BlockedError BudgetError BusyError ChallengeError ClientClosed ConfigurationError "
        "DeadlineError EngineBroken Fenced InDoubtError InvalidChallenge JournalError KeyMismatch ProxyError RefusedError "
        "ReportRefused RequestError ServiceError SolutionExpired SolveError StoreError TicketError TransportError "
        "UnsolvedError UnsupportedMethod"
    ),
    "events": (
        "AccountEvent ChargeEvent ClientWatcher Event EventKind FailoverEvent ReportEvent ReportVolumeEvent RequestEvent "
        "RoutedEvent SolveEvent WarningEvent"
    ),
    "journal.port": "Journal",
    "normalize": "explain normalize",
    "outcomes": "Outcome",
    "queues": "Queue",
    "results": (
        "AngleSolution Balance CellsSolution CookiesSolution CoordinatesSolution GeeTestSolution QueueStats "
        "RawSolution Receipt RouteStep Solution SpendingLine TencentSolution TextSolution TokenSolution"
    ),
    "settings": "GuardSettings HttpSettings JournalSettings Polling RetrySettings RoutingSettings Settings",
    "shared.settings": "Shared",
    "taxonomy": "Category Charged Code ErrorRow Retry Scope",
    "tickets": "Attempt Ticket TicketInfo TicketState",
    "transport.port": "Transport",
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names.split()}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - built from the one table above, tested against the imports


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'anycap' has no attribute {name!r}")
    # `__import__` with a from-list returns the submodule itself, without the cost of importing importlib.
    value: object = getattr(__import__(f"anycap.{module}", None, None, [name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
