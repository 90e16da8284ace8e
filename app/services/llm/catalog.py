"""Model catalog: the allowed models, with context windows and prices.

Values that the settings do not set come from the price list in the package `genai-prices`. Nothing is downloaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Self

from genai_prices import Usage, data_snapshot
from genai_prices.types import ModelInfo, Provider, TieredPrices

from app.config import LlmSettings, ModelSetting

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


class ModelCatalog:
    """The allow-list of models."""

    def __init__(
        self,
        settings: Iterable[ModelSetting],
        *,
        primary: str,
        fallbacks: Iterable[str] = (),
        default_window: int,
        base_url: str | None = None,
    ) -> None:
        """Create the catalog. The primary and fallback models are allowed without an entry in `settings`.

        `default_window` is for models whose context window is unknown. `base_url` is the provider's; None: OpenAI's.
        """
        self.primary = primary
        self.fallbacks = tuple(dict.fromkeys(name for name in fallbacks if name != primary))
        self._base_url = base_url or "https://api.openai.com/v1"
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
            base_url=settings.OPENAI_BASE_URL,
        )

    @property
    def models(self) -> tuple[CatalogModel, ...]:
        """All models: the primary one, the fallbacks in order, the rest."""
        return tuple(self._models.values())

    def get(self, name: str) -> CatalogModel | None:
        """Return a model by name. None: the model is not allowed."""
        return self._models.get(name)

    def cost(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return the cost of a call in US dollars. None: the price is unknown.

        `model_used` is the name that the provider reported, `requested` the name in the request: providers answer a
        request for `gpt-4` as `gpt-4-0613`, and some report unknown names. Settings take precedence over the price
        list, and then `model_used` over `requested`.
        """
        names = (model_used,) if requested in (None, model_used) else (model_used, requested)
        for name in names:
            setting = self._settings.get(name)
            if setting is not None and setting.prompt_price is not None and setting.completion_price is not None:
                return (prompt_tokens * setting.prompt_price + completion_tokens * setting.completion_price) / _MILLION
        for name in names:
            entry = self._find_entry(name)
            if entry is not None and (cost := _list_cost(*entry, prompt_tokens, completion_tokens)) is not None:
                return cost
        return None

    def _model(self, name: str, default_window: int) -> CatalogModel:
        setting = self._settings.get(name) or ModelSetting(name=name)
        entry = self._find_entry(name)
        info = entry[1] if entry else None
        prices = (setting.prompt_price, setting.completion_price)
        if None in prices:
            prices = _list_prices(info) if info else (None, None)
        return CatalogModel(name, setting.context_window or (info and info.context_window) or default_window, *prices)

    def _look_up(self, name: str) -> tuple[Provider, ModelInfo] | None:
        # A separate snapshot for each lookup, because a snapshot caches its lookups without limit.
        providers = data_snapshot.get_snapshot().providers
        snapshot = data_snapshot.DataSnapshot(providers, from_auto_update=False)
        # For a provider that is not in the list, the price of the model's developer applies.
        for url in (self._base_url, None):
            try:
                return snapshot.find_provider_model(name, None, None, url)
            except LookupError:
                continue
        return None


def _list_prices(model: ModelInfo) -> tuple[Decimal | None, Decimal | None]:
    """Return the prices of prompt and answer; of tiered prices, those of the first tier."""
    prices = model.get_prices(datetime.now(UTC))
    return _base_price(prices.input_mtok), _base_price(prices.output_mtok)


def _list_cost(provider: Provider, model: ModelInfo, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
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
