"""Curated mutations: small mistakes in turns, streaming, graph, llm, auth, limits and repositories."""

from tests.mutants.accounts import ACCOUNT_MUTATIONS
from tests.mutants.faults import FAULT_MUTATIONS
from tests.mutants.guards import GUARD_MUTATIONS
from tests.mutants.limits import LIMIT_MUTATIONS
from tests.mutants.mutation import Mutation
from tests.mutants.pipeline import PIPELINE_MUTATIONS

_RUNNER = "chat/turns/runner.py"
_RUNNER_TESTS = ("chat/turns/test_runner_failures.py", "chat/turns/test_runner.py")
_LOGINS = "auth/logins.py"
_REFRESH_TESTS = ("auth/test_refresh.py",)
_ROLE = "database/service_role.py"

MUTATIONS = (
    *GUARD_MUTATIONS,
    *LIMIT_MUTATIONS,
    *FAULT_MUTATIONS,
    *PIPELINE_MUTATIONS,
    *ACCOUNT_MUTATIONS,
    # Turns
    Mutation(
        "lease of a turn is a tenth",
        _RUNNER,
        "LEASE = timedelta(seconds=30)",
        "LEASE = timedelta(seconds=3)",
        _RUNNER_TESTS,
    ),
    Mutation(
        "lease of a turn is ten times as long",
        _RUNNER,
        "LEASE = timedelta(seconds=30)",
        "LEASE = timedelta(seconds=300)",
        _RUNNER_TESTS,
    ),
    Mutation(
        "leases are not renewed after an outage",
        _RUNNER,
        "            except DatabaseUnavailableError:\n                continue\n"
        '            except Exception:\n                logger.exception("lease',
        "            except DatabaseUnavailableError:\n                return\n"
        '            except Exception:\n                logger.exception("lease',
        _RUNNER_TESTS,
    ),
    Mutation(
        "leases are not renewed after an error",
        _RUNNER,
        'logger.exception("lease renewal failed")\n                continue',
        'logger.exception("lease renewal failed")\n                return',
        _RUNNER_TESTS,
    ),
    Mutation(
        "followers get no ending of an answer that is not stored",
        _RUNNER,
        "            answer.end(\n                Ending(unstored_message(",
        "            (lambda *_, **__: None)(\n                Ending(unstored_message(",
        _RUNNER_TESTS,
    ),
    Mutation(
        "deleted answers are not marked as deleted",
        _RUNNER,
        "is_deleted=isinstance(error, NotFoundError)",
        "is_deleted=False",
        _RUNNER_TESTS,
    ),
    Mutation(
        "questions are accepted while draining",
        _RUNNER,
        "        if self._is_draining:\n            raise",
        "        if False:\n            raise",
        _RUNNER_TESTS,
    ),
    Mutation(
        "answers that begin during the shutdown are not waited for",
        _RUNNER,
        "        while self._tasks and now() < end_at:",
        "        for _ in range(1):",
        _RUNNER_TESTS,
    ),
    Mutation(
        "answers that exceed the grace period are not interrupted",
        _RUNNER,
        "                    stream.interrupt()\n                interrupted",
        "                    pass\n                interrupted",
        _RUNNER_TESTS,
    ),
    Mutation(
        "the key of a direct question is leased for a plain answer",
        _RUNNER,
        "key_lease = self._max_duration(stream=stream)",
        "key_lease = self._max_duration(stream=False)",
        _RUNNER_TESTS,
    ),
    Mutation(
        "the key of a direct question is leased for 30 s",
        _RUNNER,
        "key_lease = self._max_duration(stream=stream)",
        "key_lease = LEASE",
        _RUNNER_TESTS,
    ),
    Mutation(
        "finished turns stay registered", _RUNNER, "self.running_turns.pop(answer.id, None)", "pass", _RUNNER_TESTS
    ),
    Mutation("finished streams stay registered", _RUNNER, "self._streams.discard(answer)", "pass", _RUNNER_TESTS),
    Mutation("finished tasks stay registered", _RUNNER, "self._tasks.discard(task)", "pass", _RUNNER_TESTS),
    Mutation(
        "the ledger of a direct question is not stored after an outage",
        "chat/turns/store.py",
        "await retry_until_available(record)",
        "await record()",
        _RUNNER_TESTS,
    ),
    Mutation(
        "the response of a direct question is not stored",
        "chat/turns/store.py",
        "stored_response=response,",
        "stored_response=None,",
        _RUNNER_TESTS,
    ),
    # Streaming
    Mutation(
        "the publisher ends at the first error of Redis",
        "chat/streaming/publisher.py",
        'logger.exception("stream buffer write failed")',
        "raise",
        ("resilience/test_background_loops.py",),
    ),
    Mutation(
        "the revocation check ends at the first outage",
        "chat/streaming/revocation.py",
        "except DatabaseUnavailableError:\n                continue",
        "except DatabaseUnavailableError:\n                return",
        ("resilience/test_background_loops.py",),
    ),
    Mutation(
        "the cancel channel ends at the first error of Redis",
        "services/redis/cancel_channel.py",
        "            except REDIS_ERRORS:\n                await",
        "            except REDIS_ERRORS:\n                return\n                await",
        ("resilience/test_background_loops.py",),
    ),
    # Logins
    Mutation(
        "an older refresh token gets the current successor",
        _LOGINS,
        "        elif self.refresh_tokens.has_valid_mac(token):\n            await self._revoke_replayed",
        "        elif False:\n            await self._revoke_replayed",
        _REFRESH_TESTS,
    ),
    Mutation(
        "a predecessor is not accepted again",
        _LOGINS,
        "            if family.token_hash == hash_token(successor):\n                return",
        "            if False:\n                return",
        _REFRESH_TESTS,
    ),
    Mutation(
        "a predecessor from before a change of the key ends the login",
        _LOGINS,
        "        elif self.refresh_tokens.has_valid_mac(token):",
        "        if self.refresh_tokens.has_valid_mac(token) or True:",
        _REFRESH_TESTS,
    ),
    Mutation(
        "the predecessor is not stored",
        "database/repositories/accounts/auth_sessions.py",
        "previous_token_hash=AuthSession.token_hash,\n        rotated_at",
        "rotated_at",
        _REFRESH_TESTS,
    ),
    Mutation(
        "a refresh does not extend the login",
        "database/repositories/accounts/auth_sessions.py",
        '        expires_at=func.now() + bindparam("p_life", type_=Interval),\n    )\n    .returning',
        "    )\n    .returning",
        ("contract/test_time_limits.py", "auth/test_refresh.py"),
    ),
    # Webhooks, audit log, rights
    Mutation(
        "a second rotation forgets the earlier secrets",
        "database/repositories/webhooks/endpoints.py",
        '"earlier_secrets_until": earlier,',
        '"earlier_secrets_until": {},',
        ("admin/test_webhooks.py", "-k", "rotations or bounded"),
    ),
    Mutation(
        "expired secrets sign",
        "database/repositories/webhooks/delivery_queue.py",
        ".where(cast(secrets.c.value, DateTime(timezone=True)) > func.now())",
        ".where(cast(secrets.c.value, DateTime(timezone=True)) != func.now())",
        ("worker/webhook_delivery/test_delivery.py", "-k", "rotations"),
    ),
    Mutation(
        "every refused admin call is recorded",
        "database/repositories/audit/refusals.py",
        "if refused <= RECORDED_SINGLY or",
        "if refused or",
        ("auth/users/test_refusal_audit.py",),
    ),
    Mutation(
        "the services may change the ledger",
        _ROLE,
        '"llm_calls": "SELECT, INSERT"}',
        '"llm_calls": "SELECT, INSERT, UPDATE"}',
        ("database/test_service_role.py",),
    ),
    Mutation(
        "rights that were granted before stay",
        _ROLE,
        '        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",\n',
        "",
        ("database/test_service_role.py",),
    ),
    Mutation(
        "a member of the owner is accepted",
        _ROLE,
        "OR pg_has_role(rolname, current_user, 'MEMBER')",
        "",
        ("database/test_service_role.py",),
    ),
    # HTTP, limits, logs
    Mutation(
        "one permitted address permits all",
        "services/http/ssrf_safe_client.py",
        "        *others, last = permitted",
        "        *others, last = addresses",
        ("services/http/test_ssrf_safe_client.py", "-k", "permits_no_other or skipped"),
    ),
    Mutation(
        "the body limit is that of each chunk",
        "http/middleware.py",
        '            received += len(message.get("body", b""))\n'
        "            if received > max_bytes:\n                raise HTTPException(413)",
        '            received = len(message.get("body", b""))\n'
        "            if received > max_bytes:\n                raise HTTPException(413)",
        ("http/test_middleware.py",),
    ),
    Mutation(
        "requests that are refused in memory are counted",
        "services/limits/moving_window.py",
        "            if not self._limiter.test(window.policy, window.client):",
        "            if not self._limiter.hit(window.policy, window.client):",
        ("services/limits/test_moving_window_twins.py",),
    ),
    Mutation(
        "details of errors are logged",
        "observability/logging.py",
        '"filters": ["request_id", "redaction"],',
        '"filters": ["request_id"],',
        ("observability/test_exception_text.py",),
    ),
    Mutation(
        "values of invalid data are logged",
        "observability/exception_text.py",
        "    if not str(code).startswith(_DATA_EXCEPTION) and cause.args:",
        "    if cause.args:",
        ("observability/test_exception_text.py",),
    ),
    Mutation(
        "statements are not repeated after a deadlock",
        "database/statements.py",
        "                if connection.is_in_transaction():\n                    raise",
        "                raise",
        ("database/test_constraint_errors.py",),
    ),
    Mutation(
        "a deadlock counts as an outage",
        "database/connection.py",
        "        except (DatabaseBusyError, StatementTimeoutError):\n",
        "        except StatementTimeoutError:\n",
        ("database/test_constraint_errors.py",),
    ),
    # Graph and models
    Mutation(
        "a summary covers messages that were cut from its prompt",
        "chat/summaries/summarizer.py",
        '            upto_depth = messages[-1]["depth"]',
        "            pass",
        ("chat/summaries/test_summary_coverage.py",),
    ),
)
