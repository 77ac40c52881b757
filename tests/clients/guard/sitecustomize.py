"""Runs in every Python process of a public client: lets it reach loopback only, and redirects the vendors' hosts there.

The client's code is untouched: where it has no option for the address, its HTTP library sends `https://HOST/...` to the
vendor's own port of the emulator. Any other host is refused by name, before a packet leaves.
"""

import ipaddress
import json
import os
import socket
from urllib.parse import urlsplit, urlunsplit

HOSTS = json.loads(os.environ.get("ANYCAP_CLIENT_HOSTS", "{}"))


def is_loopback(host):
    try:
        return host in ("localhost", None, "") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse(host):
    raise OSError(f"the loopback guard refused {host!r}")


def redirect(url):
    parts = urlsplit(str(url))
    root = HOSTS.get(parts.hostname)
    if root is None:
        return str(url)
    to = urlsplit(root)
    return urlunsplit((to.scheme, to.netloc, parts.path, parts.query, ""))


real_getaddrinfo, real_connect, real_connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex


def getaddrinfo(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    return real_getaddrinfo(host, *args, **kwargs) if is_loopback(name) else refuse(name)


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
        refuse(address[0])
    return real_connect(self, address)


def connect_ex(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
        refuse(address[0])
    return real_connect_ex(self, address)


socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex = getaddrinfo, connect, connect_ex

try:
    from requests.adapters import HTTPAdapter
except ImportError:
    pass
else:
    real_send = HTTPAdapter.send

    def send(self, request, *args, **kwargs):
        request.url = redirect(request.url)
        return real_send(self, request, *args, **kwargs)

    HTTPAdapter.send = send

try:
    import httpx
except ImportError:
    pass
else:
    real_sync, real_async = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def handle_request(self, request):
        request.url = httpx.URL(redirect(request.url))
        return real_sync(self, request)

    async def handle_async_request(self, request):
        request.url = httpx.URL(redirect(request.url))
        return await real_async(self, request)

    httpx.HTTPTransport.handle_request = handle_request
    httpx.AsyncHTTPTransport.handle_async_request = handle_async_request

try:
    import aiohttp
except ImportError:
    pass
else:
    real_request = aiohttp.ClientSession._request

    async def _request(self, method, url, **kwargs):
        return await real_request(self, method, redirect(url), **kwargs)

    aiohttp.ClientSession._request = _request
