"""Challenges that a page shows as a widget and that are solved by a token, or by values and cookies like one.

Vendor-neutral fields only; the vendors' names for them are in `providers/data/*.toml`. Pictures are in `pictures.py`.
Every field that is None or left at its default is not sent, so the vendor's own default holds. One-time values of a
challenge are not shown and not journalled (`repr=False`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from attrs import field, frozen

from anycap.challenges.base import (
    JSON,
    Challenge,
    a_count,
    a_flag,
    a_fraction,
    a_header,
    a_text,
    a_text_or_object,
    a_url,
    an_object,
    as_cookies,
    cookie_pairs,
    copied_or_none,
    copied_or_text,
    maybe,
    trimmed,
    trimmed_or_none,
)
from anycap.results import CookiesSolution, GeeTestSolution, Solution, TencentSolution, TokenSolution


@frozen(repr=False)
class RecaptchaV2(Challenge[TokenSolution]):
    """reCAPTCHA v2: the check box, its invisible form, and v2 Enterprise.

    `website_url` is the page's full address and `website_key` its `data-sitekey`. `invisible`: the page has no check
    box. `enterprise`: the page loads `enterprise.js`. `data_s`: the page's one-time `data-s` value. `action`: the
    `sa` value of an Enterprise widget. `enterprise_payload`: what the page hands to `grecaptcha.enterprise.render`.
    `api_domain`: `www.recaptcha.net` where the page loads it from there. `user_agent` and `cookies` (mapping, or text
    `a=1; b=2`): what the worker shall use, where the vendor takes them.

    Raises InvalidChallenge for a wrong or missing field.

    >>> RecaptchaV2("https://example.com/login", "6Lc_aCMTAAAAABx7u2N0D1XnVbI_v6ZdbM6rYf16")
    RecaptchaV2(website_url='https://example.com/login', website_key='6Lc_aCMTAAAAABx7u2N0D1XnVbI_v6ZdbM6rYf16')
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    invisible: bool = field(default=False, kw_only=True, validator=a_flag)
    enterprise: bool = field(default=False, kw_only=True, validator=a_flag)
    data_s: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    action: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    enterprise_payload: Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_none, validator=maybe(an_object), hash=False, repr=False
    )
    api_domain: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))
    cookies: Mapping[str, str] | None = field(
        default=None, kw_only=True, converter=as_cookies, validator=maybe(cookie_pairs), hash=False, repr=False
    )


@frozen(repr=False)
class RecaptchaV3(Challenge[TokenSolution]):
    """reCAPTCHA v3: no puzzle, the token carries a score.

    `min_score` from 0.1 to 0.9 (some vendors take steps only: 0.3, 0.7, 0.9); `action` is the page's action name, and
    must be right where the site checks it; `enterprise` for v3 Enterprise, with `enterprise_payload` and `api_domain`
    as in `RecaptchaV2`. The token lives for about two minutes.

    Raises InvalidChallenge for a wrong or missing field.

    >>> RecaptchaV3("https://example.com", "KEY", min_score=0.7, action="login").action
    'login'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    min_score: float | None = field(default=None, kw_only=True, validator=maybe(a_fraction))
    action: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    enterprise: bool = field(default=False, kw_only=True, validator=a_flag)
    enterprise_payload: Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_none, validator=maybe(an_object), hash=False, repr=False
    )
    api_domain: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))
    cookies: Mapping[str, str] | None = field(
        default=None, kw_only=True, converter=as_cookies, validator=maybe(cookie_pairs), hash=False, repr=False
    )


@frozen(repr=False)
class Turnstile(Challenge[TokenSolution]):
    """Cloudflare Turnstile on a page.

    `action` and `cdata` are the widget's `data-action` and `data-cdata`; `page_data` is `chlPageData`, `api_js_url`
    the script's address and `user_agent` the browser's, where the widget stands on a page of Cloudflare's own.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Turnstile(website_url="https://example.com", website_key="0x4AAA").kind
    'Turnstile'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    action: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    cdata: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    page_data: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    api_js_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_text))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class HCaptcha(Challenge[TokenSolution]):
    """hCaptcha. Few vendors still solve it; the others say so before anything is sent.

    `rqdata` is the one-time Enterprise value, `enterprise_payload` the other Enterprise values (`sentry`,
    `apiEndpoint` ...). The token must be submitted with the solution's `user_agent`, where the vendor gives one.

    Raises InvalidChallenge for a wrong or missing field.

    >>> HCaptcha("https://example.com", "10000000-ffff-ffff-ffff-000000000001").invisible
    False
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    invisible: bool = field(default=False, kw_only=True, validator=a_flag)
    rqdata: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    enterprise_payload: Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_none, validator=maybe(an_object), hash=False, repr=False
    )
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class FunCaptcha(Challenge[TokenSolution]):
    """Arkose Labs FunCaptcha.

    `public_key` is the `data-pkey`, `subdomain` the host of its API script (`client-api.arkoselabs.com`), `data` the
    page's one-time value as text or mapping (`{"blob": "..."}`).

    Raises InvalidChallenge for a wrong or missing field.

    >>> FunCaptcha("https://example.com", "69A21A01-CC7B-B9C6-0F9A-E7FA06677FFC").public_key
    '69A21A01-CC7B-B9C6-0F9A-E7FA06677FFC'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    public_key: str = field(converter=trimmed, validator=a_text)
    subdomain: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    data: str | Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_text, validator=maybe(a_text_or_object), hash=False, repr=False
    )
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))
    cookies: Mapping[str, str] | None = field(
        default=None, kw_only=True, converter=as_cookies, validator=maybe(cookie_pairs), hash=False, repr=False
    )


@frozen(repr=False)
class GeeTestV3(Challenge[GeeTestSolution]):
    """GeeTest version 3. `gt` is the site's key; `challenge` is used up by one attempt: fetch a fresh one each time.

    `api_server` is the host of GeeTest's API where it is not the usual one; `get_lib` the page's library description.
    The solution's `values` are `challenge`, `validate` and `seccode`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> GeeTestV3("https://example.com", gt="81388ea1fc187e0c335c0a8907ff2625", challenge="12ab").challenge
    '12ab'
    """

    solution_type: ClassVar[type[Solution]] = GeeTestSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    gt: str = field(converter=trimmed, validator=a_text)
    challenge: str = field(repr=False, validator=a_text)
    api_server: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    get_lib: str | Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_text, validator=maybe(a_text_or_object), hash=False, repr=False
    )
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class GeeTestV4(Challenge[GeeTestSolution]):
    """GeeTest version 4. `captcha_id` is the site's key; `init_parameters` what the page gives to `initGeetest4`.

    The solution's `values` are `captcha_id lot_number pass_token gen_time captcha_output`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> GeeTestV4("https://example.com", captcha_id="647f5ed2ed8acb4be36784e01556bb71").captcha_id
    '647f5ed2ed8acb4be36784e01556bb71'
    """

    solution_type: ClassVar[type[Solution]] = GeeTestSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    captcha_id: str = field(converter=trimmed, validator=a_text)
    init_parameters: Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_none, validator=maybe(an_object), hash=False, repr=False
    )
    api_server: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    get_lib: str | Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_text, validator=maybe(a_text_or_object), hash=False, repr=False
    )
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class AmazonWaf(Challenge[CookiesSolution]):
    """The AWS WAF captcha or challenge page. The solution has a `token`, the `aws-waf-token` cookie, or both.

    `website_key` is `key` in the page's `gokuProps`, beside `iv` and `context`. `captcha_script`, `challenge_script`
    and `jsapi_script` are addresses of scripts on the page. `cookies_wanted`: return cookies instead of a voucher,
    where the vendor can. `waf_type`: a vendor's word for the variant.

    Raises InvalidChallenge for a wrong or missing field.

    >>> AmazonWaf("https://example.com", "AQIDAHjcYu", iv="CgAHbCe2GgAAAAAj", context="9BUgmlm48F92").iv
    'CgAHbCe2GgAAAAAj'
    """

    solution_type: ClassVar[type[Solution]] = CookiesSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str | None = field(default=None, converter=trimmed_or_none, validator=maybe(a_text))
    iv: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    context: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    captcha_script: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    challenge_script: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    jsapi_script: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    waf_type: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    cookies_wanted: bool = field(default=False, kw_only=True, validator=a_flag)
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class FriendlyCaptcha(Challenge[TokenSolution]):
    """Friendly Captcha. `website_key` is the `data-sitekey`; `api_get_lib` the address of the page's widget script.

    Raises InvalidChallenge for a wrong or missing field.

    >>> FriendlyCaptcha("https://example.com", "FCMGEMUD2KTDSQ5H").kind
    'FriendlyCaptcha'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    api_get_lib: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class Prosopo(Challenge[TokenSolution]):
    """Prosopo Procaptcha. `website_key` is the `data-sitekey`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Prosopo("https://example.com", "5EZVvsHMrKCFKp5NYNoTyDjTjetoVo1Z4UNNbTwJf1GfN6Xm").kind
    'Prosopo'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)


@frozen(repr=False)
class Altcha(Challenge[TokenSolution]):
    """ALTCHA, a proof of work. Some vendors fetch the puzzle themselves, others want it handed over.

    `challenge_url` is where the widget fetches its puzzle, `challenge_json` the puzzle as text. For vendors that take
    its parts: `challenge`, `iterations`, `salt` and `signature`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Altcha("https://example.com", challenge_url="https://example.com/altcha").challenge_url
    'https://example.com/altcha'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    challenge_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_text))
    challenge_json: str | Mapping[str, JSON] | None = field(
        default=None, kw_only=True, converter=copied_or_text, validator=maybe(a_text_or_object), hash=False, repr=False
    )
    challenge: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    iterations: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    salt: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    signature: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class MTCaptcha(Challenge[TokenSolution]):
    """MTCaptcha. `website_key` is the `sk` value; `action` its `act`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> MTCaptcha("https://example.com", "MTPublic-tqNCRE0GS").website_key
    'MTPublic-tqNCRE0GS'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    action: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    invisible: bool = field(default=False, kw_only=True, validator=a_flag)
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class Yidun(Challenge[TokenSolution]):
    """NetEase Yidun. `website_key` is the `id` of its requests.

    `get_lib` is the address of the page's library, `api_server` the host of its API; `challenge`, `hcg` and `hct`
    belong to the Enterprise form.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Yidun("https://example.com", "6cw0f0485d5d46auacf9b735d20218a5").kind
    'Yidun'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    get_lib: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    api_server: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    challenge: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    hcg: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    hct: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class Tencent(Challenge[TencentSolution]):
    """Tencent's captcha (TenDI). `app_id` is the page's `captchaAppId`; `captcha_url` the address of its script.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Tencent("https://example.com", "189123456").app_id
    '189123456'
    """

    solution_type: ClassVar[type[Solution]] = TencentSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    app_id: str = field(converter=trimmed, validator=a_text)
    captcha_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class Binance(Challenge[TokenSolution]):
    """Binance's captcha. `website_key` is the page's `bizId`, `bizType` or `bizCode` (such as `login`).

    `validate_id`: the one-time `validateId`, `securityId` or `securityCheckResponseValidateId` of the page's requests.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Binance("https://example.com", "login", "cb0bfefa598b4c3887661fde54ecd57b").website_key
    'login'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    website_key: str = field(converter=trimmed, validator=a_text)
    validate_id: str = field(converter=trimmed, validator=a_text, repr=False)
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class Alibaba(Challenge[TokenSolution]):
    """Alibaba Cloud's captcha. `scene_id` and `prefix` are in the page's requests (`sceneId`, and the API host's first part).

    `user_id`, `user_user_id`, `verify_type`, `region`, `user_certify_id` and `api_get_lib` (the script's address) are
    the page's values of the same names, where it has them.

    Raises InvalidChallenge for a wrong or missing field.

    >>> Alibaba("https://example.com", "1ww7426c4", "dlw3kug").prefix
    'dlw3kug'
    """

    solution_type: ClassVar[type[Solution]] = TokenSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    scene_id: str = field(converter=trimmed, validator=a_text)
    prefix: str = field(converter=trimmed, validator=a_text)
    user_id: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    user_user_id: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    verify_type: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    region: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    user_certify_id: str | None = field(default=None, kw_only=True, repr=False, validator=maybe(a_text))
    api_get_lib: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))
