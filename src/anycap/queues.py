"""anti-captcha's worker queues, for `client.queue_stats`. Source: apidoc/methods/getQueueStats."""

from enum import IntEnum


class Queue(IntEnum):
    """A queue of workers and its id. hCaptcha's are missing in newer versions of the vendor's page."""

    IMAGE_ENGLISH = 1
    IMAGE_RUSSIAN = 2
    RECAPTCHA_V2_PROXY = 5
    RECAPTCHA_V2 = 6
    FUNCAPTCHA_PROXY = 7
    FUNCAPTCHA = 10
    GEETEST_PROXY = 12
    GEETEST = 13
    RECAPTCHA_V3_03 = 18
    RECAPTCHA_V3_07 = 19
    RECAPTCHA_V3_09 = 20
    HCAPTCHA_PROXY = 21
    HCAPTCHA = 22
    RECAPTCHA_ENTERPRISE_PROXY = 23
    RECAPTCHA_ENTERPRISE = 24
    ANTIGATE = 25
    TURNSTILE_PROXY = 26
    TURNSTILE = 27
    IMAGE_COORDINATES = 28
    HCAPTCHA_ENTERPRISE = 29
