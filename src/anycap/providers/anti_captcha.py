"""anti-captcha style (anti-captcha.com, 2Captcha and clones): a numeric error id names the error when the code is missing."""

from __future__ import annotations

from anycap.providers.adapter import Adapter


class AntiCaptchaAdapter(Adapter):
    """The protocol as its inventor speaks it. The shared decoder needs no change: bare ids are catalog data (`ids`)."""
