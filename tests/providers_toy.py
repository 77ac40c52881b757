"""The smallest catalog that is whole: a vendor that nobody has heard of, for tests of the loader and the registry."""

TOY = """
[provider]
schema = 1
name = "toy"
title = "Toy"
style = "anti-captcha"
base_url = "https://api.toy.example"
docs = "https://toy.example/docs"
currency = "USD"
task_id = "integer"
error_ids = "catalogue"
ready_statuses = ["ready"]
processing_statuses = ["processing"]
charges_failures = false

[[ban_rules]]
name = "flood"
count_max = 5
window_s = 60
penalty_s = 600
vendor_code = "ERROR_IP_BLOCKED"
scope = "address"
codes = ["invalid_key"]
source = "made up"

[errors.ERROR_KEY]
ids = [1]
aliases = ["KEY_ERROR"]
code = "invalid_key"
charged = "unknown"
meaning = "No such key."
action = "Fix it."
source = "made up"

[errors.ERROR_IP_BLOCKED]
code = "ip_blocked"
retry_after_s = 600
charged = "unknown"
meaning = "Blocked."
action = "Wait."
source = "made up"
"""
