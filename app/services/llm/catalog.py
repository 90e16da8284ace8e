"""The models that may be asked: what they are called, how much they hold, what they cost.

What the settings leave open comes from the price list in the package `genai-prices`. Nothing is downloaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Self

from genai_prices import Usage, data_snapshot
from genai_prices.types import ModelInfo, Provider, TieredPrices

from app.config import ModelSetting, Settings

_MILLION = Decimal(1_000_000)
_CACHED_NAMES = 1024
"""Names whose entries in the price list are history: providers may call their models as they like."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model that a client may name."""

    name: str
    context_window: int
    """Tokens that it can look at in one request, at least."""
    prompt_price: Decimal | None
    """US dollars for a million tokens. None: not known, which is not the same as nothing."""
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
        """Look up what the settings leave open. `base_url` is the provider's; None: OpenAI's.

        The primary model and its fallbacks are allowed whether or not there is a setting for them.
        """
        self.primary = primary
        self.fallbacks = tuple(dict.fromkeys(name for name in fallbacks if name != primary))
        self._base_url = base_url or "https://api.openai.com/v1"
        self._settings = {setting.name: setting for setting in settings}
        self._find = lru_cache(_CACHED_NAMES)(self._find_anew)
        names = dict.fromkeys((primary, *self.fallbacks, *self._settings))
        self._models = {name: self._model(name, default_window) for name in names}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the list from the settings."""
        return cls(
            settings.LLM_MODELS,
            primary=settings.LLM_MODEL,
            fallbacks=settings.fallback_models,
            default_window=settings.LLM_CONTEXT_WINDOW,
            base_url=settings.OPENAI_BASE_URL,
        )

    @property
    def models(self) -> tuple[CatalogModel, ...]:
        """All of them: the primary one, the fallbacks in order, the rest."""
        return tuple(self._models.values())

    def get(self, name: str) -> CatalogModel | None:
        """Return the model of this name. None: it is not allowed."""
        return self._models.get(name)

    def cost(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return what an answer cost, in US dollars. None: the price is not known.

        `model_used` is what the provider says, `requested` what it was asked for: providers answer as `gpt-4-0613`
        what was asked of `gpt-4`, and some under a name that nobody knows. Settings go before the price list, and the
        model that was used before the one that was asked for.
        """
        names = (model_used,) if requested in (None, model_used) else (model_used, requested)
        for name in names:
            setting = self._settings.get(name)
            if setting is not None and setting.prompt_price is not None and setting.completion_price is not None:
                return (prompt_tokens * setting.prompt_price + completion_tokens * setting.completion_price) / _MILLION
        for name in names:
            found = self._find(name)
            if found is not None and (cost := _list_cost(*found, prompt_tokens, completion_tokens)) is not None:
                return cost
        return None

    def _model(self, name: str, default_window: int) -> CatalogModel:
        setting = self._settings.get(name) or ModelSetting(name=name)
        found = self._find(name)
        info = found[1] if found else None
        prices = (setting.prompt_price, setting.completion_price)
        if None in prices:
            prices = _list_prices(info) if info else (None, None)
        return CatalogModel(name, setting.context_window or (info and info.context_window) or default_window, *prices)

    def _find_anew(self, name: str) -> tuple[Provider, ModelInfo] | None:
        # A snapshot of one's own, because it remembers what it was asked without limit.
        providers = data_snapshot.get_snapshot().providers
        snapshot = data_snapshot.DataSnapshot(providers, from_auto_update=False)
        # An engine that the list does not know is taken to ask what the model's maker asks.
        for url in (self._base_url, None):
            try:
                return snapshot.find_provider_model(name, None, None, url)
            except LookupError:
                continue
        return None


def _list_prices(model: ModelInfo) -> tuple[Decimal | None, Decimal | None]:
    """Return the prices of prompt and answer; those of the first tier, where a long prompt costs more."""
    prices = model.get_prices(datetime.now(UTC))
    return _base(prices.input_mtok), _base(prices.output_mtok)


def _list_cost(provider: Provider, model: ModelInfo, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
    prices = model.get_prices(datetime.now(UTC))
    prompt_price, completion_price = prices.input_mtok, prices.output_mtok
    if prompt_price is None or completion_price is None:
        return None
    if isinstance(prompt_price, Decimal) and isinstance(completion_price, Decimal):
        # The package comes to the same, in many times the time: it has many more things to charge for.
        return (prompt_tokens * prompt_price + completion_tokens * completion_price) / _MILLION
    usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens)
    return model.calc_price(usage, provider).total_price


def _base(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price.base if isinstance(price, TieredPrices) else price
