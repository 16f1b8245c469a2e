"""All APIs that are pulled, for what looks at every domain: the audit."""

from __future__ import annotations

from lakehouse.domains.rawg.api import API as RAWG

APIS = (RAWG,)
