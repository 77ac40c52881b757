"""What the vendors' pages document, or their own clients send, beyond what the catalogs need for our challenges. Data only.

The catalogs list the types and fields that anycap sends. A real vendor takes more: older names of types, types that no
challenge of ours models, optional fields, other spellings. `vendor_rules.py` joins both.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from anycap.providers.tasks import ProxyRule

Names = frozenset[str]


@frozen
class Unmodelled:
    """A documented type that no challenge of ours carries: any field passes if the `required` ones are there.

    `sync`: solved in the createTask answer.
    """

    required: tuple[str, ...] = ()
    sync: bool = False
    proxy_rule: ProxyRule = field(factory=ProxyRule)


@frozen
class Documented:
    """What one vendor takes beyond its catalog.

    `same_as` are other names of a type. `unmodelled` are types without a challenge; one that is in the catalog, too, has
    further forms. `fields` are optional fields by a part of the type's name. `instead` names, by type, fields that may
    come in place of a required one. `any_case`: the vendor does not mind capitals in the names of types.
    """

    same_as: Mapping[str, str] = {}
    unmodelled: Mapping[str, Unmodelled] = {}
    fields: tuple[tuple[str, Names], ...] = ()
    instead: Mapping[str, Mapping[str, str]] = {}
    any_case: bool = False


_ANY = Unmodelled()

_TWO_CAPTCHA_ALONE = (
    *(
        f"{name}Task{ending}"
        for name in (
            "YandexSmartCaptcha", "Lemin", "Capy", "KeyCaptcha", "CutCaptcha", "AntiCyberSiAra", "AtbCaptcha", "Basilisk",
        )
        for ending in ("", "Proxyless")
    ),
    "CaptchaFoxTask", "VKCaptchaTask", "VKCaptchaImageTask", "BoundingBoxTask", "DrawAroundTask", "TemuCaptchaTask",
    "DataDomeSliderTask", "IncapsulaTask", "tspdtask",
)  # fmt: skip
"""Types that 2Captcha alone has a name for, as python-rucaptcha 6.8.2 sends them."""

DOCUMENTED: Mapping[str, Documented] = {
    "anti-captcha": Documented(
        # Older names, which python-anticaptcha 2.0.0 still has.
        same_as={"NoCaptchaTask": "RecaptchaV2Task", "NoCaptchaTaskProxyless": "RecaptchaV2TaskProxyless"},
        # Its page has the four proxy fields without proxyType.
        unmodelled={
            "AntiBotCookieTask": Unmodelled(
                ("websiteURL",),
                proxy_rule=ProxyRule("fields_without_type", ("http",), ip_only=True, private_refused=True),
            )
        },
        fields=(
            ("RecaptchaV2", frozenset({"websiteSToken"})),
            ("GeeTest", frozenset({"version"})),
            ("HCaptcha", frozenset({"cookies"})),
            # The page has one spelling, the vendor's clients the other.
            ("Amazon", frozenset({"wafType", "waf_type"})),
        ),
    ),
    "capmonster": Documented(
        # The older name, with a proxy or without; its Node client 2.6.1 still sends it.
        same_as={"NoCaptchaTask": "RecaptchaV2Task"},
        unmodelled=dict.fromkeys(("CustomTask", "ComplexImageTask", "HCaptchaTask", "HCaptchaTaskProxyless"), _ANY),
        fields=(
            ("RecaptchaV", frozenset({"nocache"})),
            # Its page spells capMonsterModule and case, both of its clients begin with a capital.
            ("ImageToTextTask", frozenset({"CapMonsterModule", "Case"})),
            ("RecaptchaV2Enterprise", frozenset({"recaptchaDataSValue"})),
            ("RecaptchaV3TaskProxyless", frozenset({"isEnterprise"})),
            ("TurnstileTask", frozenset({"cloudflareTaskType", "htmlPageBase64", "userAgent"})),
        ),
        instead={"ComplexImageTask": {"imagesBase64": "imageUrls"}},
    ),
    "yescaptcha": Documented(
        unmodelled=dict.fromkeys(
            ("CloudFlareTaskS2", "CloudFlareTaskS3", "HCaptchaTaskProxylessE1", "HCaptchaTaskProxylessM1"), _ANY
        ),
        fields=(("RecaptchaV3", frozenset({"minScore"})), ("HCaptchaTask", frozenset({"rqdata"}))),
    ),
    "ezcaptcha": Documented(
        # Its wiki writes RecaptchaV2EnterpriseTaskProxyless beside ReCaptchaV2TaskProxyless, its first Python client only the
        # former, and its newer SDKs say that the service does not tell them apart.
        any_case=True,
        # CloudFlare5STask: its wiki. The others: EZXLabs/ezcapsolver-js, src/tasks.
        unmodelled={
            "CloudFlare5STask": Unmodelled(
                ("websiteURL", "proxy"), proxy_rule=ProxyRule("url", ("http", "https", "socks5"))
            ),
            "HCaptcha": Unmodelled(("websiteURL", "websiteKey", "lang")),
            "ReCaptchaV2Classification": Unmodelled(("image", "question"), sync=True),
            "FunCaptchaClassification": Unmodelled(("image", "question"), sync=True),
        },
        fields=(
            # The wiki's example for v3 has isInvisible, the rest is the SDKs'.
            ("ReCaptchaV3", frozenset({"isInvisible", "websiteTitle", "checkField"})),
            # Whoever compared the wiki in 2025-11 found the proxy in address fields; we found one string (see its catalog).
            (
                "ReCaptchaV2",
                frozenset({"websiteTitle", "proxyType", "proxyAddress", "proxyPort", "proxyLogin", "proxyPassword"}),
            ),
            ("Funcaptcha", frozenset({"cn"})),
        ),
    ),
    "2captcha": Documented(
        # /api-docs/grid: imgType only for the kinds that are recognised by machine, all but type and body optional.
        unmodelled={"GridTask": Unmodelled(("body",)), **dict.fromkeys(_TWO_CAPTCHA_ALONE, _ANY)},
        fields=(
            # python-rucaptcha sends these to every type of the family.
            ("RecaptchaV2", frozenset({"minScore"})),
            ("Turnstile", frozenset({"userAgent"})),
        ),
    ),
    "capsolver": Documented(
        # docs.capsolver.com/guide/recognition: both are answered at once.
        unmodelled={
            "VisionEngine": Unmodelled(("module", "image"), sync=True),
            "AwsWafClassification": Unmodelled(("images", "question"), sync=True),
            # docs.capsolver.com/guide/captcha: what passes a site's bot wall, by VendorTask only.
            "AntiCloudflareTask": Unmodelled(("websiteURL", "proxy")),
            "DatadomeSliderTask": Unmodelled(("captchaUrl", "userAgent", "proxy")),
        },
        fields=(
            ("ReCaptcha", frozenset({"isSession"})),
            ("ImageToTextTask", frozenset({"images"})),
            # Its page on proxies has five fields and, as an alternative, one string.
            ("Task", frozenset({"proxy"})),
        ),
        # The module `number` reads up to nine pictures in one task.
        instead={"ImageToTextTask": {"body": "images"}},
    ),
}

FAMILIES = (
    "ImageToText", "Coordinates", "Captcha", "Turnstile", "GeeTest", "Amazon", "AwsWaf", "Prosopo", "Altcha", "Yidun",
    "Datadome", "DataDome", "VisionEngine", "CloudFlare", "Classification", "Binance",
)  # fmt: skip
"""Parts of type names that a vendor whose catalog lists no types may be asked for."""


def documented(provider: str, family: str) -> Documented:
    """What this vendor, or the company it belongs to, takes beyond its catalog; nothing for a third party's."""
    return DOCUMENTED.get(provider) or DOCUMENTED.get(family, _NOTHING)


_NOTHING = Documented()
