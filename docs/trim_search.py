"""Takes out of the built site's search what only repeats a signature, so that words find the guides first.

Every field of every challenge is a heading of the reference; "proxy" would find thirty of them and no guide. Run by
`nox -s docs` after the build; a field with a sentence of its own stays, and so does every page.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

INDEX = Path(__file__).parents[1] / "site" / "search.json"
_CODE = re.compile(r"<pre>.*?</pre>|<[^>]*>", re.DOTALL)


def says_something(item: dict[str, object]) -> bool:
    """Whether an entry of the search is more than a signature under its heading."""
    location, text = str(item["location"]), str(item["text"])
    return not (location.startswith("reference/") and "#" in location) or bool(_CODE.sub("", text).strip())


def main() -> None:
    """Write the index again without the entries that say nothing."""
    index = json.loads(INDEX.read_text(encoding="utf-8"))
    index["items"] = [item for item in index["items"] if says_something(item)]
    INDEX.write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


if __name__ == "__main__":
    main()
