"""Mutations of logins, limits, and the repositories of turns and logins."""

from tests.mutants.mutation import Mutation

_THROTTLE = "auth/login_throttle.py"
_THROTTLE_TESTS = ("auth/test_login_throttle.py",)
_HASHING_TESTS = ("auth/test_hashing_queue.py",)
_QUEUE = "services/limits/fair_queue.py"
_QUEUE_TESTS = ("services/limits/test_fair_queue.py",)
_AUTH_SESSIONS = "database/repositories/accounts/auth_sessions.py"
_CALLERS = "database/repositories/accounts/callers.py"
_KEYS = "database/repositories/turns/idempotency_keys.py"
_ACTIVE = "database/repositories/turns/active_turns.py"
_TURN_TESTS = ("database/repositories/test_turns.py",)

ACCOUNT_MUTATIONS = (
    # Logins
    Mutation(
        "attempts of cancelled requests are not given back",
        _THROTTLE,
        "        except BaseException:\n            task",
        "        except Exception:\n            task",
        _HASHING_TESTS,
    ),
    Mutation(
        "attempts that were not evaluated are not given back",
        _THROTTLE,
        "        except UnauthorizedError:\n            raise\n",
        "        except Exception:\n            raise\n",
        _HASHING_TESTS,
    ),
    Mutation(
        "a stolen token has attempts in 300 networks",
        _THROTTLE,
        "_MAX_UNKNOWN_NETWORKS = 3",
        "_MAX_UNKNOWN_NETWORKS = 300",
        ("auth/test_passwords.py",),
    ),
    Mutation(
        "attempts elsewhere lock the owner out",
        _THROTTLE,
        "        if is_known_network:\n            account_key",
        "        if False:\n            account_key",
        _THROTTLE_TESTS,
    ),
    Mutation(
        "attempts over the limit of the account are evaluated",
        "auth/logins.py",
        "account.password_hash if account and attempt.is_evaluated else None",
        "account.password_hash if account else None",
        _THROTTLE_TESTS,
    ),
    Mutation(
        "a network may fill the hashing queue",
        "auth/hashing_queue.py",
        "            limits.enter_context(self.limiter.slot(network))\n",
        "",
        _HASHING_TESTS,
    ),
    Mutation(
        "an account may fill the hashing queue",
        "auth/hashing_queue.py",
        "            limits.enter_context(self.limiter.slot(account))\n",
        "",
        _HASHING_TESTS,
    ),
    Mutation(
        "a disabled account may refresh",
        _AUTH_SESSIONS,
        "        AuthSession.user_id == User.id,\n        User.is_active,\n    )\n    .values(",
        "        AuthSession.user_id == User.id,\n    )\n    .values(",
        ("auth/test_refresh.py",),
    ),
    Mutation(
        "an ended login may be refreshed",
        _AUTH_SESSIONS,
        '        AuthSession.token_hash == bindparam("p_token_hash"),\n        IS_OPEN,\n',
        '        AuthSession.token_hash == bindparam("p_token_hash"),\n',
        ("auth/test_refresh.py",),
    ),
    Mutation(
        "a change of the password ends the login that changes it",
        _AUTH_SESSIONS,
        "        statement = statement.where(AuthSession.uuid != except_uuid)",
        "        pass",
        ("auth/test_passwords.py",),
    ),
    Mutation(
        "a disabled account is authenticated",
        _CALLERS,
        '        User.uuid == bindparam("p_user_uuid"),\n        User.is_active,\n',
        '        User.uuid == bindparam("p_user_uuid"),\n',
        ("auth/test_logins.py",),
    ),
    Mutation(
        "a login authenticates other accounts",
        _CALLERS,
        "    .join(AuthSession, AuthSession.user_id == User.id)\n    .where(\n",
        "    .join(AuthSession, AuthSession.user_id != 0)\n    .where(\n",
        ("auth/test_logins.py",),
    ),
    Mutation(
        "streams of a disabled account go on",
        _CALLERS,
        'any_(bindparam("p_sessions", type_=ARRAY(Uuid))), User.is_active, IS_OPEN)',
        'any_(bindparam("p_sessions", type_=ARRAY(Uuid))), IS_OPEN)',
        ("chat/streaming/test_revocation.py",),
    ),
    Mutation(
        "the window of attempts never ends",
        "database/repositories/accounts/attempt_counters.py",
        '"attempts": case((_is_over, 1), else_=',
        '"attempts": case((_is_over, AttemptCounter.attempts + 1), else_=',
        _THROTTLE_TESTS,
    ),
    # Limits
    Mutation(
        "a client may fill the queue",
        _QUEUE,
        "        if len(state.waiting) >= self.limits.waiting_per_client:",
        "        if False:",
        _QUEUE_TESTS,
    ),
    Mutation(
        "a request that is cancelled after its turn came keeps its place",
        _QUEUE,
        "                self.leave(slot.client)  # cancelled",
        "                pass  # cancelled",
        _QUEUE_TESTS,
    ),
    Mutation(
        "clients that have not been served wait for those that have",
        _QUEUE,
        "(self._turns if state.running else self._first)[slot.client]",
        "self._turns[slot.client]",
        _QUEUE_TESTS,
    ),
    Mutation(
        "requests may use the whole connection pool",
        "services/limits/admission.py",
        "pool * 4 // 5",
        "pool",
        ("services/limits/test_admission.py",),
    ),
    Mutation(
        "an expensive operation keeps its place for ever",
        "services/limits/admission.py",
        "            yield\n        finally:\n            slot.release()",
        "            yield\n        finally:\n            pass",
        ("services/limits/test_admission.py",),
    ),
    Mutation(
        "requests that wait for a password are not counted afterwards",
        "services/limits/admission.py",
        "        request.slot.resume()",
        "        pass",
        ("services/limits/test_admission.py",),
    ),
    Mutation(
        "keys of the concurrency limiter stay registered",
        "services/limits/concurrency.py",
        "                del self._in_use[key]",
        "                pass",
        ("services/limits/test_concurrency.py",),
    ),
    Mutation(
        "the reservation of a refused question stays",
        "chat/turns/store.py",
        "        except Exception:\n            await self.quotas.release(turn_id)\n            raise",
        "        except Exception:\n            raise",
        ("chat/turns/test_quota_reservations.py",),
    ),
    # Repositories of turns
    Mutation(
        "a late process overwrites a recovered answer",
        "database/repositories/turns/turns.py",
        'ChatMessage.uuid == bindparam("p_turn_id"), IS_ACTIVE)',
        'ChatMessage.uuid == bindparam("p_turn_id"))',
        ("worker/test_turn_recovery.py", "database/repositories/test_turns.py"),
    ),
    Mutation(
        "a recovery ignores a renewed lease",
        "database/repositories/turns/turn_recovery.py",
        'ChatMessage.uuid == bindparam("p_turn_id"), *_IS_ORPHANED)',
        'ChatMessage.uuid == bindparam("p_turn_id"), IS_ACTIVE)',
        ("worker/test_turn_recovery.py",),
    ),
    Mutation(
        "a process whose key was claimed again stores its response",
        _KEYS,
        ".where(*_MATCHES_KEY, _IS_TURN)\n",
        ".where(*_MATCHES_KEY)\n",
        ("chat/idempotency/test_interrupted_requests.py",),
    ),
    Mutation(
        "keys are stored for two hours",
        _KEYS,
        "RETENTION = timedelta(hours=24)",
        "RETENTION = timedelta(hours=2)",
        ("chat/idempotency/test_key_lifetime.py", "contract/test_time_limits.py"),
    ),
    Mutation(
        "another request may claim the key of a killed process",
        _KEYS,
        "and_(IdempotencyKey.lease_expires_at <= func.now(), IdempotencyKey.fingerprint == new.fingerprint)",
        "IdempotencyKey.lease_expires_at <= func.now()",
        ("chat/idempotency/test_interrupted_requests.py",),
    ),
    Mutation(
        "the renewal of leases waits for locked answers",
        _ACTIVE,
        ".with_for_update(skip_locked=True)",
        ".with_for_update()",
        _TURN_TESTS,
    ),
    Mutation(
        "the answer to a deleted question is generated to its end",
        _ACTIVE,
        "or_(ChatMessage.id.is_(None), and_(IS_ACTIVE, ChatMessage.cancel_requested_at.is_not(None)))",
        "and_(IS_ACTIVE, ChatMessage.cancel_requested_at.is_not(None))",
        _TURN_TESTS,
    ),
    Mutation(
        "another user cancels an answer",
        _ACTIVE,
        "        ChatMessage.session_id == OWNED_SESSION_ID.scalar_subquery(),\n"
        "        IS_ACTIVE,\n    )\n    .values(cancel",
        "        IS_ACTIVE,\n    )\n    .values(cancel",
        _TURN_TESTS,
    ),
)
