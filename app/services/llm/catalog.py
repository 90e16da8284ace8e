"""Model catalog: the allowed models, with providers, context windows and prices.

Values that the settings do not set come from the price list in the package `genai-prices`. Nothing is downloaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Self

from genai_prices import Usage, data_snapshot
from genai_prices.types import ModelInfo, TieredPrices
from genai_prices.types import Provider as ListedProvider

from app.config import DEFAULT_PROVIDER, LlmSettings, ModelSetting, Provider

_OPENAI_URL = "https://api.openai.com/v1"
_MILLION = Decimal(1_000_000)
_MAX_CACHED_NAMES = 1024
"""Maximum number of cached lookups in the price list. Providers may report any model name."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model that clients may choose."""

    name: str
    context_window: int
    """Tokens of prompt and answer together."""
    prompt_price: Decimal | None
    """US dollars per million tokens. None: unknown."""
    completion_price: Decimal | None
    provider: str = DEFAULT_PROVIDER
    display_name: str | None = None
    """Name for pages. None: `name`."""
    description: str | None = None
    capabilities: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    """Maximum number of tokens of one answer that the model can write. None: not known."""
    temperature: float | None = None
    """Temperature of requests that choose none. None: that of the deployment."""
    attempt_timeout: float | None = None
    """Timeout of an attempt in seconds. None: that of the deployment."""
    stream_pause: float | None = None
    """Maximum pause of a streamed answer in seconds. None: that of the deployment."""


class ModelCatalog:
    """The allow-list of models."""

    def __init__(
        self,
        settings: Iterable[ModelSetting],
        *,
        primary: str,
        fallbacks: Iterable[str] = (),
        default_window: int,
        providers: Iterable[Provider] = (),
    ) -> None:
        """Create the catalog. The primary and fallback models are allowed without an entry in `settings`.

        `default_window` is for models whose context window is unknown. The first of the `providers` is the default one.
        """
        self.primary = primary
        self.fallbacks = tuple(dict.fromkeys(name for name in fallbacks if name != primary))
        self._providers = {provider.name: provider for provider in providers}
        self._default_provider = next(iter(self._providers), DEFAULT_PROVIDER)
        self._settings = {setting.name: setting for setting in settings}
        self._find_entry = lru_cache(_MAX_CACHED_NAMES)(self._look_up)
        names = dict.fromkeys((primary, *self.fallbacks, *self._settings))
        self._models = {name: self._model(name, default_window) for name in names}

    @classmethod
    def from_settings(cls, settings: LlmSettings) -> Self:
        """Return the catalog of a deployment."""
        return cls(
            settings.LLM_MODELS,
            primary=settings.LLM_MODEL,
            fallbacks=settings.fallback_models,
            default_window=settings.LLM_CONTEXT_WINDOW,
            providers=settings.providers(),
        )

    @property
    def models(self) -> tuple[CatalogModel, ...]:
        """All models: the primary one, the fallbacks in order, the rest."""
        return tuple(self._models.values())

    def get(self, name: str) -> CatalogModel | None:
        """Return a model by name. None: the model is not allowed."""
        return self._models.get(name)

    def setting_of(self, name: str) -> ModelSetting:
        """Return the entry of a model in `LLM_MODELS`, or one with its name only."""
        return self._settings.get(name) or ModelSetting.model_construct(name=name)

    def provider_of(self, name: str) -> str:
        """Return the name of the provider of a model; for one that is not in the catalog, the default provider."""
        setting = self._settings.get(name)
        return (setting and setting.provider) or self._default_provider

    def accepts_images(self, name: str) -> bool | None:
        """Return whether a model accepts images. None: its capabilities are unknown, so its provider decides."""
        capabilities = self.setting_of(name).capabilities
        return "vision" in capabilities if capabilities else None

    def cost(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return the cost of a call in US dollars. None: the price is unknown.

        `model_used` is the name that the provider reported, `requested` the name in the request: providers answer a
        request for `gpt-4` as `gpt-4-0613`, and some report unknown names. Settings take precedence over the price
        list, and then `model_used` over `requested`.
        """
        requested = requested or model_used
        provider = self.provider_of(requested)
        names = (model_used,) if requested == model_used else (model_used, requested)
        for name in names:
            setting = self._settings.get(name)
            # The model that another provider has under the same name may have another price.
            if setting is not None and self.provider_of(name) == provider and (prices := setting.prices()) is not None:
                return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / _MILLION
        for name in names:
            entry = self._find_entry(self._provider_model(name), provider)
            if entry is not None and (cost := _list_cost(*entry, prompt_tokens, completion_tokens)) is not None:
                return cost
        return None

    def _model(self, name: str, default_window: int) -> CatalogModel:
        setting, provider = self.setting_of(name), self._providers.get(self.provider_of(name))
        entry = self._find_entry(self._provider_model(name), self.provider_of(name))
        info = entry[1] if entry else None
        return CatalogModel(
            name,
            setting.context_window or (info and info.context_window) or default_window,
            *(setting.prices() or (_list_prices(info) if info else (None, None))),
            provider=self.provider_of(name),
            display_name=setting.display_name,
            description=setting.description,
            capabilities=setting.capabilities,
            max_output_tokens=setting.max_output_tokens,
            temperature=None if setting.temperature == "none" else setting.temperature,
            attempt_timeout=setting.attempt_timeout or (provider.attempt_timeout if provider else None),
            stream_pause=provider.stream_pause if provider else None,
        )

    def _provider_model(self, name: str) -> str:
        setting = self._settings.get(name)
        return (setting and setting.provider_model) or name

    def _look_up(self, name: str, provider: str) -> tuple[ListedProvider, ModelInfo] | None:
        # A separate snapshot for each lookup, because a snapshot caches its lookups without limit.
        providers = data_snapshot.get_snapshot().providers
        snapshot = data_snapshot.DataSnapshot(providers, from_auto_update=False)
        # For a provider that is not in the list, the price of the model's developer applies.
        configured = self._providers.get(provider)
        for url in (configured.base_url if configured else _OPENAI_URL, None):
            try:
                return snapshot.find_provider_model(name, None, None, url)
            except LookupError:
                continue
        return None


def _list_prices(model: ModelInfo) -> tuple[Decimal | None, Decimal | None]:
    """Return the prices of prompt and answer; of tiered prices, those of the first tier."""
    prices = model.get_prices(datetime.now(UTC))
    return _base_price(prices.input_mtok), _base_price(prices.output_mtok)


def _list_cost(
    provider: ListedProvider, model: ModelInfo, prompt_tokens: int, completion_tokens: int
) -> Decimal | None:
    prices = model.get_prices(datetime.now(UTC))
    prompt_price, completion_price = prices.input_mtok, prices.output_mtok
    if prompt_price is None or completion_price is None:
        return None
    if isinstance(prompt_price, Decimal) and isinstance(completion_price, Decimal):
        # Same result as `calc_price`, which is much slower because it handles many more kinds of usage.
        return (prompt_tokens * prompt_price + completion_tokens * completion_price) / _MILLION
    usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens)
    return model.calc_price(usage, provider).total_price


def _base_price(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price.base if isinstance(price, TieredPrices) else price
