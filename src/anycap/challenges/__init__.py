"""What to solve: frozen challenge classes with vendor-neutral fields, `Proxy`, and `VendorTask` for everything else.

Add a kind here: a class in `tokens.py`, `pictures.py` or `scripted.py`, then `[[tasks]]` rows in the vendors' TOML
files (`providers/data/`), which say how each vendor names it. Nothing here knows a vendor or does I/O, `load()` excepted.
"""

from anycap.challenges.base import JSON, Challenge
from anycap.challenges.pictures import (
    ComplexImage,
    FunCaptchaGrid,
    HCaptchaGrid,
    ImageToCoordinates,
    ImageToText,
    RecaptchaGrid,
    images_of,
)
from anycap.challenges.proxy import Proxy
from anycap.challenges.scripted import WAIT, AntiGate, VendorTask
from anycap.challenges.tokens import (
    Altcha,
    AmazonWaf,
    FriendlyCaptcha,
    FunCaptcha,
    GeeTestV3,
    GeeTestV4,
    HCaptcha,
    MTCaptcha,
    Prosopo,
    RecaptchaV2,
    RecaptchaV3,
    Turnstile,
    Yidun,
)
from anycap.results import Solution

__all__ = [
    "JSON", "KINDS", "WAIT", "Altcha", "AmazonWaf", "AntiGate", "Challenge", "ComplexImage", "FriendlyCaptcha",
    "FunCaptcha", "FunCaptchaGrid", "GeeTestV3", "GeeTestV4", "HCaptcha", "HCaptchaGrid", "ImageToCoordinates",
    "ImageToText", "MTCaptcha", "Prosopo", "Proxy", "RecaptchaGrid", "RecaptchaV2", "RecaptchaV3", "Turnstile",
    "VendorTask", "Yidun", "images_of",
]  # fmt: skip

KINDS: dict[str, type[Challenge[Solution]]] = {
    cls.__name__: cls
    for cls in (
        ImageToText, ImageToCoordinates, RecaptchaV2, RecaptchaV3, Turnstile, HCaptcha, FunCaptcha, GeeTestV3, GeeTestV4,
        AmazonWaf, FriendlyCaptcha, Prosopo, Altcha, MTCaptcha, Yidun, RecaptchaGrid, HCaptchaGrid, FunCaptchaGrid,
        ComplexImage, AntiGate, VendorTask,
    )
}  # fmt: skip
"""Every kind by its name, in the order of the docs."""
