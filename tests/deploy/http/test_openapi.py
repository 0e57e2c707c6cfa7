"""What /openapi.json promises, against requests made from it by schemathesis."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings

pytestmark = pytest.mark.slow

# So many examples of each operation; it takes seconds for all of them.
_EXAMPLES = 40


@pytest.mark.filterwarnings("ignore")
def test_every_answer_is_documented(make_client: Callable[..., TestClient]) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="the extra dev is not installed")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    app: Any = make_client().app
    # Jobs are refused by a service that has no place for them, such as this one.
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(
        path_regex="^/v1/(jobs|batches)"
    )
    asked = 0
    for operation in schema.get_all_operations():

        @settings(
            max_examples=_EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.ok().as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            # No schema can say which photograph and mask fit together.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        ask()
    assert asked > 5 * _EXAMPLES
