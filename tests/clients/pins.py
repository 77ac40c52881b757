"""The public clients that are run on the emulator, pinned. Named in docs/testing.md; none is installed with anycap."""

from __future__ import annotations

from attrs import frozen


@frozen
class PublicClient:
    """One client at one version: the script that uses it, for which vendors, and how it is given the address.

    `address` is the client's own option; None means that the host stands in its code, and the guard redirects it.
    `speaks_older_protocol`: in.php and res.php only, which `older_protocol.py` translates.
    `undeclared`: a package that it imports and does not ask for.
    `known` says, by "vendor kind", what does not work with the client and why; such a failure is expected.
    """

    package: str
    version: str
    script: str
    vendors: tuple[str, ...]
    address: str | None = None
    extra: str = ""
    undeclared: str = ""
    known: tuple[tuple[str, str], ...] = ()
    speaks_older_protocol: bool = False

    @property
    def is_node(self) -> bool:
        return self.script.endswith(".cjs")

    @property
    def requirement(self) -> str:
        return f"{self.package}@{self.version}" if self.is_node else f"{self.package}{self.extra}=={self.version}"


KINDS = ("image", "v2", "v3", "turnstile", "balance", "wrong_key")

_BLANK_IN_PATH = "asks for `/createTask%20`, with a blank at its end; no page of anti-captcha's has that path"

CLIENTS = (
    PublicClient("anticaptchaofficial", "1.0.72", "anticaptchaofficial.py", ("anti-captcha",)),
    PublicClient("capmonstercloudclient", "4.3.1", "capmonstercloudclient.py", ("capmonster",), "service_url"),
    PublicClient("capmonster_python", "5.0.0", "capmonster_python.py", ("capmonster",)),
    PublicClient("yescaptcha", "0.1.0", "yescaptcha.py", ("yescaptcha",)),
    PublicClient("ezcaptcha", "1.5", "ezcaptcha.py", ("ezcaptcha",), undeclared="requests==2.32.5"),
    PublicClient("capsolver", "1.0.7", "capsolver.py", ("capsolver",), "api_base"),
    PublicClient("python3-anticaptcha", "2.3.0", "python3_anticaptcha.py", ("anti-captcha",)),
    PublicClient("python-anticaptcha", "2.0.0", "python_anticaptcha.py", ("anti-captcha",), "host, use_ssl", "[async]"),
    PublicClient("python3-capsolver", "1.2.2", "python3_capsolver.py", ("capsolver",)),
    PublicClient("python-rucaptcha", "6.8.2", "python_rucaptcha.py", ("2captcha",)),
    PublicClient("2captcha-python", "2.1.2", "twocaptcha.py", ("2captcha",), speaks_older_protocol=True),
    PublicClient("unicaps", "1.3.0", "unicaps.py", ("anti-captcha",)),
    PublicClient(
        "unicaptcha", "0.2.0", "unicaptcha.py", ("anti-captcha", "capmonster", "2captcha", "capsolver"), "base_url"
    ),
    PublicClient(
        "captchatools",
        "1.5.0",
        "captchatools.py",
        ("capmonster", "anti-captcha", "capsolver"),
        known=(
            *((f"anti-captcha {kind}", _BLANK_IN_PATH) for kind in ("image", "v2", "v3")),
            ("capsolver v3", "sends `RecaptchaV3TaskProxyless`; CapSolver's type is `ReCaptchaV3TaskProxyLess`"),
        ),
    ),
    PublicClient("pycaptcha-hub", "0.1.0", "pycaptcha_hub.py", ("anti-captcha", "capmonster"), "host"),
    PublicClient("@antiadmin/anticaptchaofficial", "1.0.56", "antiadmin.cjs", ("anti-captcha",)),
    PublicClient("@zennolab_com/capmonstercloud-client", "2.6.1", "zennolab.cjs", ("capmonster",), "serviceUrl"),
)
