"""Chat model of all configured providers: each request goes to the client of its model's provider."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Self

from app.config import LlmSettings
from app.core.exceptions import StartupError
from app.graph.ports.chat_model import Completion, ModelRequest, PublishText, StreamTimeouts
from app.graph.ports.tool_calls import PublishToolCalls
from app.services.llm.catalog import ModelCatalog
from app.services.llm.openai import OpenAIChatModel


class ModelRouter:
    """`ChatModel` for the models of the catalog. It owns one client for each provider."""

    def __init__(self, clients: Mapping[str, OpenAIChatModel], catalog: ModelCatalog) -> None:
        """`clients`: by the name of the provider."""
        self._clients = clients
        self._by_model = {model.name: clients[model.provider] for model in catalog.models}
        self._fingerprints = {name: _fingerprint(client, name) for name, client in self._by_model.items()}

    @classmethod
    def from_settings(cls, settings: LlmSettings) -> Self:
        """Return the clients of a deployment.

        Raises:
            StartupError: no provider is configured, or a model has none.

        """
        try:
            providers = {provider.name: provider for provider in settings.providers()}
        except ValueError as error:
            raise StartupError(f"configuration: {error}") from None
        if not providers:
            raise StartupError(
                "configuration: OPENAI_API_KEY: is required (or OPENAI_BASE_URL or LLM_PROVIDERS, for another engine)"
            )
        catalog = ModelCatalog.from_settings(settings)
        for model in catalog.models:
            if model.provider not in providers:
                raise StartupError(f"configuration: LLM_MODELS: {model.name}: the provider {model.provider} is not set")
        clients = {
            name: OpenAIChatModel.open(
                provider,
                {model.name: catalog.setting_of(model.name) for model in catalog.models if model.provider == name},
            )
            for name, provider in providers.items()
        }
        return cls(clients, catalog)

    @property
    def parameter_changes(self) -> dict[str, dict[str, str | None]]:
        """Parameters that were adapted for each model: their new names; None: they are not sent."""
        changes = {
            model: client.parameter_changes.of(client.profile(model).model) for model, client in self._by_model.items()
        }
        return {model: change for model, change in changes.items() if change}

    @property
    def providers(self) -> dict[str, str]:
        """Names of the providers, by model."""
        return {model: client.provider.name for model, client in self._by_model.items()}

    def fingerprint(self, model: str) -> str:
        """Return a text that differs where another provider or profile may give another answer."""
        return self._fingerprints[model]

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt; see `ChatModel`."""
        return await self._by_model[request.model].complete(request, max_seconds=max_seconds)

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        """Make one streamed attempt; see `ChatModel`."""
        client = self._by_model[request.model]
        return await client.stream(
            request,
            publish,
            timeouts=timeouts,
            publish_reasoning=publish_reasoning,
            publish_tool_calls=publish_tool_calls,
        )

    async def close(self) -> None:
        """Close the connections to all providers."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))


def _fingerprint(client: OpenAIChatModel, model: str) -> str:
    """Return a hash of the provider's address and the profile, neither of which a log or key should show."""
    profile = asdict(client.profile(model))
    content = json.dumps([client.provider.name, client.provider.base_url, profile], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
