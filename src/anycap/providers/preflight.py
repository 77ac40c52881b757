"""Checks of images, user agents and proxies against one vendor's rules, before anything is sent. Pure: no look-up, no file.

The rules are catalog data (`[images]`, `[user_agent]`, `[proxy]`, or a task's own); what holds at every vendor is checked where a
challenge is made, in `challenges/`. Field checks that need the task's spec are in `encode.py`.
"""

from __future__ import annotations

import ipaddress

from anycap.challenges.images import AudioFile, Image, inspect_image, inspect_recording
from anycap.challenges.proxy import Proxy
from anycap.credentials import contains_any
from anycap.errors import InvalidChallenge
from anycap.providers.tasks import ImageRule, ProxyRule, UserAgentRule

_LOCAL = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_NAMES = {"jpg": "JPG", "gif": "GIF", "png": "PNG", "webp": "WebP", "bmp": "BMP"}


def check_image(provider: str, what: str, rule: ImageRule, image: Image) -> list[str]:
    """Warnings about an image that the vendor may refuse; empty when it is fine.

    `what` names challenge and field in messages. Raises InvalidChallenge for an image that is too small or too large in
    bytes or pixels, of a format the vendor does not take, or no image at all.

    >>> check_image("capmonster", "ImageToText", ImageRule(bytes_warn=5, bytes_max=10), Image(b"GIF89a"))
    ['ImageToText: 6 bytes; capmonster states 5 as its limit and may refuse it']
    """
    size = len(image.data)
    if size < rule.bytes_min:
        raise InvalidChallenge(f"{what}: {size} bytes is too small; {provider} takes {rule.bytes_min} and more")
    if rule.bytes_max is not None and size > rule.bytes_max:
        raise InvalidChallenge(
            f"{what}: {size:,} bytes is too large; {provider} takes up to {rule.bytes_warn or rule.bytes_max:,}. "
            "Make it smaller or save it with stronger compression"
        )
    warnings = []
    if rule.bytes_warn is not None and size > rule.bytes_warn:
        warnings.append(f"{what}: {size:,} bytes; {provider} states {rule.bytes_warn:,} as its limit and may refuse it")
    if isinstance(image, AudioFile):
        _check_recording(provider, what, rule, image)
    elif rule.formats or rule.sides or rule.side_max:
        _check_header(provider, what, rule, image)
    return warnings


def _check_recording(provider: str, what: str, rule: ImageRule, recording: AudioFile) -> None:
    form = inspect_recording(recording.data)
    if rule.formats and form not in rule.formats:
        what_it_is = "these bytes are no recording by their first bytes" if form is None else f"{form} recording"
        raise InvalidChallenge(f"{what}: {what_it_is}; {provider} takes {', '.join(rule.formats)}")


def _check_header(provider: str, what: str, rule: ImageRule, image: Image) -> None:
    info = inspect_image(image.data)
    if info is None or (rule.formats and info.format not in rule.formats):
        takes = ", ".join(_NAMES.get(name, name) for name in rule.formats) or "images"
        what_it_is = "these bytes are no image by their header" if info is None else f"a {_NAMES[info.format]} image"
        raise InvalidChallenge(f"{what}: {what_it_is}; {provider} takes {takes}")
    if info.animated and not rule.animated:
        raise InvalidChallenge(f"{what}: an animated image; {provider} takes still ones")
    if rule.sides and info.width and not (info.width == info.height and info.width in rule.sides):
        fits = ", ".join(f"{side}x{side}" for side in rule.sides)
        raise InvalidChallenge(f"{what}: {info.width}x{info.height} pixels; {provider} takes {fits}")
    if rule.side_max is not None and max(info.width, info.height) > rule.side_max:
        raise InvalidChallenge(
            f"{what}: {info.width}x{info.height} pixels; {provider} takes at most {rule.side_max} on a side"
        )


def check_user_agent(provider: str, what: str, rule: UserAgentRule, user_agent: str) -> list[str]:
    """A warning about a user agent that the vendor is likely to refuse; empty when it is fine.

    >>> check_user_agent("capmonster", "Turnstile", UserAgentRule(contains=("Windows",)), "Mozilla/5.0 (Windows NT 10.0)")
    []
    """
    if not rule.contains or any(word in user_agent for word in rule.contains):
        return []
    wants = " or ".join(rule.contains)
    text = f"{what}: {provider} accepts user agents with {wants} in them; this one may be refused"
    return [text + " (client.user_agent() asks the vendor for the current one, where it names one)"]


def check_proxy(provider: str, rule: ProxyRule, proxy: Proxy) -> None:
    """Raises InvalidChallenge when the vendor cannot use this proxy. Host names are never looked up.

    >>> check_proxy("anti-captcha", ProxyRule(ip_only=True, private_refused=True), Proxy("http", "192.0.2.7", 8080))
    """
    if proxy.scheme not in rule.schemes:
        raise InvalidChallenge(f"{provider} takes {', '.join(rule.schemes)} proxies here, not {proxy.scheme}")
    address = proxy.address
    if address is None and rule.ip_only:
        raise InvalidChallenge(
            f"{provider} takes proxies by IP address only; {proxy.host!r} is a name, and names are not looked up here: "
            "resolve it yourself and pass the address"
        )
    if rule.private_refused and (proxy.host.lower().rstrip(".") == "localhost" or (address and _is_local(address))):
        raise InvalidChallenge(f"{proxy.host} is an address of a local network: {provider}'s workers cannot reach it")
    if rule.login_required and proxy.login is None:
        raise InvalidChallenge(f"{provider} wants a login and a password with a proxy")
    if rule.form == "colon":
        for secret in (proxy.login, proxy.password):
            if secret is not None and contains_any(secret, ":"):
                raise InvalidChallenge(
                    f"{provider} takes proxies as type:ip:port:login:password: no ':' in login or password"
                )
        if address is not None and address.version == 6:
            raise InvalidChallenge(
                f"{provider} takes proxies as type:ip:port:login:password: IPv6 does not fit in there"
            )


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return _is_local(mapped)
    if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
        return True
    return any(address.version == network.version and address in network for network in _LOCAL)
