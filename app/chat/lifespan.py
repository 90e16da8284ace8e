"""Resources of the chat service: opened in its lifespan, closed in the reverse order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.chat.idempotency.service import IdempotencyService
from app.chat.search.service import SearchService, new_search_limiter
from app.chat.sessions.service import SessionService
from app.chat.streaming.publisher import StreamPublisher
from app.chat.streaming.remote import RemoteStreams
from app.chat.streaming.resume import StreamingService
from app.chat.streaming.revocation import RevocationWatch
from app.chat.summaries.summarizer import Summarizer
from app.chat.summaries.summary_generator import SummaryGenerator
from app.chat.turns.cancellation import CancellationService
from app.chat.turns.question_builder import QuestionBuilder
from app.chat.turns.recovery import TurnRecovery, UsageEstimate
from app.chat.turns.runner import STORE_AFTER_CANCEL_TIMEOUT, TurnRunner
from app.chat.turns.service import TurnService
from app.chat.turns.store import TurnStore
from app.config import Settings
from app.core.background_tasks import background_task
from app.core.cursors import CursorSigner
from app.core.shutdown import SHUTDOWN_NOTICE
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import ChatModel, Sampling
from app.graph.prompts import instructions_builder
from app.http.dependencies import Resources
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.limits.quotas import QuotaService, default_quota
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.catalog import ModelCatalog
from app.services.llm.circuit_breaker import CircuitBreakers
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.redis.cancel_channel import CancelChannel
from app.services.redis.client import open_redis
from app.services.redis.deleted_session_purger import running_deleted_session_purger
from app.services.redis.stream_buffer import StreamBuffer
from app.services.search.indexer import SearchIndexer

_MAX_BLOCKING_READ = 5.0
"""Maximum number of seconds for which a read may block in Redis."""


@dataclass(frozen=True, slots=True)
class ChatServices:
    """Services that the routes call."""

    sessions: SessionService
    questions: QuestionBuilder
    turns: TurnService
    streaming: StreamingService
    cancellation: CancellationService
    stream_limiter: ConcurrencyLimiter
    """Open event streams per account."""
    quotas: QuotaService
    search: SearchService


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open the model client and Redis clients, compile the graph, and start the background tasks."""
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        provider = OpenAIChatModel.from_settings(settings)
        stack.push_async_callback(provider.close)
        blocking_redis = open_redis(settings, max_blocking_seconds=_MAX_BLOCKING_READ)
        stack.push_async_callback(blocking_redis.aclose)
        model: ChatModel = provider
        if settings.LLM_CACHE_TTL > 0:
            cache = ResponseCache(resources.breaker, seconds=settings.LLM_CACHE_TTL, scope=settings.LLM_CACHE_SCOPE)
            model = cached = CachingChatModel(provider, cache)
            stack.push_async_callback(cached.close)
        deleted_session_purger = await stack.enter_async_context(running_deleted_session_purger(resources.breaker))
        buffer = StreamBuffer(resources.breaker, blocking_redis)
        channel = CancelChannel(resources.breaker, blocking_redis)
        publisher = StreamPublisher(buffer)
        graph = build_chat_graph()
        catalog = ModelCatalog.from_settings(settings)
        recovery = TurnRecovery(
            database, buffer.published_text, UsageEstimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog.cost)
        )
        idempotency = IdempotencyService(database, recovery)
        policy = default_policy(settings, catalog)
        breakers = CircuitBreakers(
            [model.name for model in catalog.models],
            failures=settings.LLM_BREAKER_FAILURES,
            pause=settings.LLM_BREAKER_PAUSE,
        )
        quotas = QuotaService(database, default_quota(settings))
        questions = QuestionBuilder(catalog, policy, quotas)
        summary_model = SummaryGenerator(provider, database, policy, catalog.cost, quotas)
        summarizer = Summarizer(summary_model, database, policy, batch=settings.LLM_SUMMARY_MESSAGES)
        runner = TurnRunner(
            graph=graph,
            model=model,
            database=database,
            policy=policy,
            summarizer=summarizer if settings.LLM_SUMMARY_ENABLED else None,
            store=TurnStore(database, recovery, quotas),
            price=catalog.cost,
            turn_timeout=settings.LLM_TURN_TIMEOUT,
            health=breakers,
            publisher=publisher,
        )
        stream_limiter = ConcurrencyLimiter(
            settings.STREAMS_PER_USER,
            code="too_many_streams",
            detail="Too many event streams are open.",
            retry_after=5,
        )
        resources.heartbeat.add_stats("models", lambda: breakers.states)
        resources.heartbeat.add_stats("turns", lambda: runner.running_count)
        resources.heartbeat.add_stats("streams", lambda: stream_limiter.total)
        remote_streams = RemoteStreams(database, buffer)
        revocations = RevocationWatch(database)
        for work in (publisher.run, runner.watch, revocations.run, lambda: channel.listen(runner.cancel)):
            await stack.enter_async_context(background_task(work))

        async def drain() -> None:
            now = asyncio.get_running_loop().time
            deadline = now() + max(settings.SHUTDOWN_GRACE - SHUTDOWN_NOTICE - STORE_AFTER_CANCEL_TIMEOUT, 0)
            await runner.drain(deadline - now())
            await summarizer.drain(max(deadline - now(), 0))
            remote_streams.close_all()

        async def drain_when_stopping() -> None:
            await resources.stopping.wait()
            await asyncio.sleep(SHUTDOWN_NOTICE)
            await drain()

        stack.push_async_callback(drain)
        await stack.enter_async_context(background_task(drain_when_stopping))
        streaming = StreamingService(runner, idempotency, remote_streams, revocations)
        turns = TurnService(runner, idempotency, streaming)
        search = _search_service(resources)
        yield {
            "graph": graph,
            "breakers": breakers,
            "chat": ChatServices(
                sessions=SessionService(
                    database, turns, recovery, idempotency, questions, deleted_session_purger, search
                ),
                questions=questions,
                turns=turns,
                streaming=streaming,
                cancellation=CancellationService(database, runner, remote_streams, channel),
                stream_limiter=stream_limiter,
                quotas=quotas,
                search=search,
            ),
        }


def _search_service(resources: Resources) -> SearchService:
    limiter = new_search_limiter()
    resources.heartbeat.add_stats("searches", lambda: limiter.total)
    cursors = CursorSigner(resources.settings.SECRET_KEY.get_secret_value())
    return SearchService(resources.database, SearchIndexer(resources.database), limiter, cursors)


def default_policy(settings: Settings, catalog: ModelCatalog) -> ModelPolicy:
    """Return the policy of questions that choose neither a model nor parameters."""
    return ModelPolicy(
        models=(catalog.primary, *catalog.fallbacks),
        retries_per_model=settings.LLM_RETRIES_PER_MODEL,
        attempt_timeout=settings.LLM_ATTEMPT_TIMEOUT,
        history_messages=settings.LLM_HISTORY_MESSAGES,
        instructions=instructions_builder(settings.LLM_SYSTEM_PROMPT),
        context_windows={model.name: model.context_window for model in catalog.models},
        stream_idle_timeout=settings.LLM_STREAM_PAUSE,
        stream_timeout=settings.LLM_STREAM_TIMEOUT,
        sampling=Sampling(temperature=settings.LLM_TEMPERATURE, max_tokens=settings.LLM_MAX_TOKENS),
    )
