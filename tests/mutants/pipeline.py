"""Mutations of streaming, the graph and the model clients."""

from tests.mutants.mutation import Mutation

_SUBSCRIBER = "chat/streaming/subscriber.py"
_RETRY = "graph/retry_policy.py"
_RETRY_TESTS = ("graph/test_retries.py",)
_NODES = "graph/nodes.py"
_SINGLE_FLIGHT_TESTS = ("services/llm/test_single_flight.py",)
_BREAKER = "services/llm/circuit_breaker.py"
_BREAKER_TESTS = ("services/llm/test_circuit_breaker.py",)

PIPELINE_MUTATIONS = (
    # Streaming
    Mutation(
        "text is sent before it is in Redis",
        "chat/streaming/publisher.py",
        "answer.show(len(snapshot.text), ",
        "answer.show(len(answer.text), ",
        ("chat/streaming/test_publisher.py",),
    ),
    Mutation(
        "pings are sent every 150 s",
        _SUBSCRIBER,
        "PING_INTERVAL = 15.0",
        "PING_INTERVAL = 150.0",
        ("chat/streaming/test_subscriber.py",),
    ),
    Mutation(
        "a stream goes on after its login is revoked",
        _SUBSCRIBER,
        "        self._is_revoked = True\n",
        "",
        ("chat/streaming/test_revocation.py",),
    ),
    Mutation(
        "subscribers that have left stay registered",
        _SUBSCRIBER,
        "            answer_text.unsubscribe(self._wake)",
        "            pass",
        ("chat/streaming/test_subscriber.py",),
    ),
    Mutation(
        "credentials of ended streams stay registered",
        "chat/streaming/revocation.py",
        "            self._streams.pop(credential, None)",
        "            pass",
        ("chat/streaming/test_subscriber.py",),
    ),
    Mutation(
        "an answer nobody follows is still read",
        "chat/streaming/remote.py",
        "                stream.task.cancel()",
        "                pass",
        ("chat/streaming/test_remote.py",),
    ),
    Mutation(
        "a stream waits without end for the recovery of its answer",
        "chat/streaming/remote.py",
        "_MAX_ORPHANED_POLLS = 10",
        "_MAX_ORPHANED_POLLS = 10_000",
        ("chat/streaming/test_resume.py", "-k", "expired_lease"),
    ),
    Mutation(
        "a resumed request repeats the whole text",
        "chat/streaming/resume.py",
        "events.delta(answer.content[after:], length)",
        "events.delta(answer.content, length)",
        ("chat/streaming/test_resumed_requests.py",),
    ),
    # Graph
    Mutation(
        "every failure counts against the model",
        _NODES,
        "        if error.is_model_fault:\n",
        "        if True:\n",
        ("graph/test_model_health.py",),
    ),
    Mutation(
        "a cached answer counts as a success of the model",
        _NODES,
        "        if not completion.is_cached:\n",
        "        if True:\n",
        ("graph/test_model_health.py",),
    ),
    Mutation(
        "a model is called after the deadline",
        _NODES,
        "    if remaining <= 0:\n",
        "    if False:\n",
        _RETRY_TESTS,
    ),
    Mutation(
        "an attempt is repeated after a part of its answer was published",
        _RETRY,
        "context.has_published or ",
        "",
        _RETRY_TESTS,
    ),
    Mutation(
        "a retry leaves no time for the next model",
        _RETRY,
        "min(_MAX_WAIT_BEFORE_FALLBACK, time_left - next_attempt)",
        "_MAX_WAIT_BEFORE_FALLBACK",
        _RETRY_TESTS,
    ),
    Mutation(
        "the timeout of a retry leaves no time for the next model",
        _RETRY,
        "    if choice.earlier_attempts > 0 and choice",
        "    if False and choice",
        _RETRY_TESTS,
    ),
    Mutation(
        "an exchange that fits exactly is left out",
        "graph/context_window.py",
        "_exchange_tokens(exchanges[first - 1])) >= 0:",
        "_exchange_tokens(exchanges[first - 1])) > 0:",
        ("graph/test_context_window.py",),
    ),
    # Models
    Mutation(
        "a half open breaker allows every request",
        _BREAKER,
        "        self._is_probing = True\n        self._open_until = self._now() + self._pause\n",
        "        self._is_probing = True\n",
        _BREAKER_TESTS,
    ),
    Mutation(
        "a provider may suspend a model for hours",
        _BREAKER,
        "min(retry_after or 0, _MAX_PAUSE)",
        "retry_after or 0",
        _BREAKER_TESTS,
    ),
    Mutation(
        "one waiter that leaves cancels a shared call",
        "services/llm/single_flight.py",
        "            if not self.owners and not self._outcome.done():",
        "            if not self._outcome.done():",
        _SINGLE_FLIGHT_TESTS,
    ),
    Mutation(
        "a shared call is accounted for by each waiter",
        "services/llm/single_flight.py",
        "        self._is_accounted_for = True\n        return completion",
        "        return completion",
        _SINGLE_FLIGHT_TESTS,
    ),
    Mutation(
        "an answer without a finish reason is complete",
        "services/llm/received_answer.py",
        'return self._finish_reason or (UNKNOWN if self._finish_reason == "" and self.is_over else None)',
        "return self._finish_reason or (UNKNOWN if self.is_over else None)",
        ("services/llm/test_openai_streams.py", "services/llm/test_received_answer.py"),
    ),
    Mutation(
        "users share cached answers",
        "services/llm/response_cache.py",
        'scope = "global" if self._scope == "global" else f"user:{request.owner.user_uuid}"',
        'scope = "global"',
        ("services/llm/test_response_cache.py", "services/llm/test_cache_isolation.py"),
    ),
    Mutation(
        "answers with estimated token counts are cached",
        "services/llm/response_cache.py",
        "        and not completion.token_counts.is_estimated\n",
        "",
        ("services/llm/test_response_cache.py",),
    ),
)
