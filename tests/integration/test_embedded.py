"""The embedded server: shared by all that use it, gone with the last of them, nothing lost."""

from __future__ import annotations

import pytest

from tests.embedded_users import (
    needs_server,
)

pytestmark = needs_server
MAY_FORK = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
