"""Guards against lost confirmations, against cut responses, and against rights of the services, each taken out."""

from tests.mutants.mutation import Mutation

_RUNNER = "chat/turns/runner.py"
_STORE = "chat/turns/store.py"
_QUERIES = "database/repositories/turns/turn_queries.py"
_UNCONFIRMED = "chat/idempotency/test_unconfirmed_questions.py"
_ONCE = (_UNCONFIRMED, "-k", "stores_the_question_once and confirmation and not streamed")
_RUNNER_TESTS = ("chat/turns/test_runner.py", "-k", "unconfirmed")
_ENDS = "http/aborted_responses.py"
_ENDS_TESTS = ("http/test_aborted_responses.py",)
_ROLE = "database/service_role.py"
_ROLE_TESTS = ("database/test_service_role.py",)

FAULT_MUTATIONS = (
    # Questions that were stored without confirmation
    Mutation(
        "guard: a question without confirmation is left alone",
        _RUNNER,
        "            _ = self._start_task(self._resolve_unconfirmed(question, new, turn_id, stream=stream))\n",
        "",
        _RUNNER_TESTS,
    ),
    Mutation(
        "guard: a question without confirmation loses its key",
        _RUNNER,
        "        if new is None:\n            await retry",
        "        if question.key is not None:\n            await retry",
        _ONCE,
    ),
    Mutation(
        "guard: a question without confirmation is not searched again after an outage",
        _RUNNER,
        "await retry_until_available(lambda: self.store.find_unconfirmed(question, new))",
        "await self.store.find_unconfirmed(question, new)",
        _RUNNER_TESTS,
    ),
    Mutation(
        "guard: a question that is committed late is not found",
        _RUNNER,
        "        if delays:\n",
        "        if not delays:\n",
        _RUNNER_TESTS,
    ),
    Mutation(
        "guard: an answer that has ended is generated again",
        _QUERIES,
        '        ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),\n        IS_ACTIVE,\n',
        '        ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),\n',
        _RUNNER_TESTS,
    ),
    Mutation(
        "guard: the key of an unconfirmed direct question stays claimed",
        _STORE,
        "                await idempotency_keys.release(connection, question.key, turn_id=turn_id)\n"
        "        if question.budget",
        "                pass\n        if question.budget",
        (_UNCONFIRMED, "-k", "direct_question and confirmation and not stream and not completions"),
    ),
    Mutation(
        "guard: the quota of a question that was not stored stays reserved",
        _STORE,
        "            await self.quotas.release(new.answer_uuid)\n",
        "            pass\n",
        (_UNCONFIRMED, "-k", "quota and statement and sessions"),
    ),
    Mutation(
        "guard: a key that was released meanwhile is reported as deleted",
        "database/repositories/turns/idempotency_keys.py",
        "        if stored is not None:\n            raise IdempotencyKeyTakenError(key, stored)\n",
        "        raise IdempotencyKeyTakenError(key, stored)\n",
        ("chat/idempotency/test_key_lifetime.py", "-k", "released"),
    ),
    # Responses that end early
    Mutation(
        "guard: a client that disconnects is an unhandled exception",
        "http/middleware.py",
        "        except ClientDisconnect:\n            pass  # nobody waits for the rest\n",
        "",
        _ENDS_TESTS,
    ),
    Mutation(
        "guard: an error of the connection is one of the application",
        "http/middleware.py",
        "            except OSError:\n                raise ClientDisconnect from None",
        "            except OSError:\n                raise",
        _ENDS_TESTS,
    ),
    Mutation(
        "guard: a download that is cut is an unhandled exception",
        _ENDS,
        "        if isinstance(cause, AppError):\n            return cause.code\n",
        "        pass\n",
        _ENDS_TESTS,
    ),
    Mutation(
        "guard: a download that is cut looks complete",
        _ENDS,
        '    abort()\n    while (await receive())["type"] != "http.disconnect":\n        pass\n',
        "",
        _ENDS_TESTS,
    ),
    Mutation(
        "guard: the server cannot be told to cut a connection",
        "http/uvicorn_protocol.py",
        '        allow_abort(self.scope["state"], self.transport.abort)\n',
        "",
        ("http/test_disconnected_clients.py", "-k", "end_early"),
    ),
    # Rights of the services
    Mutation(
        "guard: the services may change the audit log",
        _ROLE,
        '{"audit_log": "SELECT, INSERT", ',
        '{"audit_log": "SELECT, INSERT, DELETE", ',
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: the services may empty tables",
        _ROLE,
        '"SELECT, INSERT, UPDATE, DELETE"',
        '"SELECT, INSERT, UPDATE, DELETE, TRUNCATE"',
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: the services may change the revision of the schema",
        _ROLE,
        '{_VERSION_TABLE: "SELECT"}',
        "{_VERSION_TABLE: _ALL}",
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: the services may create tables if that was granted before",
        _ROLE,
        '        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}",\n',
        "",
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: the services may set sequences if that was granted before",
        _ROLE,
        '        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role}",\n',
        "",
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: the services may set sequences",
        _ROLE,
        'f"GRANT USAGE ON ALL SEQUENCES',
        'f"GRANT ALL ON ALL SEQUENCES',
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: a superuser may be the role of the services",
        _ROLE,
        '"SELECT rolsuper OR rolcreaterole"',
        '"SELECT false"',
        _ROLE_TESTS,
    ),
    Mutation(
        "guard: an owner of tables may be the role of the services",
        _ROLE,
        "\" OR EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relkind = 'r'\"\n"
        '        " AND relnamespace = current_schema()::regnamespace) OR pg_has_role',
        '" OR pg_has_role',
        _ROLE_TESTS,
    ),
)
