"""What to solve: frozen challenge classes with vendor-neutral fields, `Proxy`, and `VendorTask` for everything else.

Add a kind here: a class in the module of its family, then `[[tasks]]` rows in the vendors' TOML files
(`providers/data/`), which say how each vendor names it. Nothing here knows a vendor or does I/O, `load()` excepted.
"""

from anycap.challenges.base import JSON, Challenge
from anycap.challenges.pictures import (
    AudioToText,
    ComplexImage,
    FunCaptchaGrid,
    HCaptchaGrid,
    ImageToCoordinates,
    ImageToText,
    RecaptchaGrid,
    RotateImage,
    images_of,
)
from anycap.challenges.proxy import Proxy
from anycap.challenges.questions import TextQuestion
from anycap.challenges.scripted import WAIT, AntiGate, VendorTask
from anycap.challenges.tokens import (
    Alibaba,
    Altcha,
    AmazonWaf,
    Binance,
    FriendlyCaptcha,
    FunCaptcha,
    GeeTestV3,
    GeeTestV4,
    HCaptcha,
    MTCaptcha,
    Prosopo,
    RecaptchaV2,
    RecaptchaV3,
    Tencent,
    Turnstile,
    Yidun,
)
from anycap.results import Solution

__all__ = [
    "JSON", "KINDS", "WAIT", "Alibaba", "Altcha", "AmazonWaf", "AntiGate", "AudioToText", "Binance",
    "Challenge", "ComplexImage", "FriendlyCaptcha", "FunCaptcha", "FunCaptchaGrid", "GeeTestV3", "GeeTestV4",
    "HCaptcha", "HCaptchaGrid", "ImageToCoordinates", "ImageToText", "MTCaptcha", "Prosopo", "Proxy",
    "RecaptchaGrid", "RecaptchaV2", "RecaptchaV3", "RotateImage", "Tencent", "TextQuestion", "Turnstile",
    "VendorTask", "Yidun", "images_of",
]  # fmt: skip

KINDS: dict[str, type[Challenge[Solution]]] = {
    cls.__name__: cls
    for cls in (
        ImageToText, ImageToCoordinates, RecaptchaV2, RecaptchaV3, Turnstile, HCaptcha, FunCaptcha, GeeTestV3, GeeTestV4,
        AmazonWaf, FriendlyCaptcha, Prosopo, Altcha, MTCaptcha, Yidun, Tencent, Binance, Alibaba, RecaptchaGrid,
        HCaptchaGrid, FunCaptchaGrid, RotateImage, ComplexImage, AudioToText, TextQuestion, AntiGate, VendorTask,
    )
}  # fmt: skip
"""Every kind by its name, in the order of the docs."""
