"""Routes of webhook endpoints and their deliveries."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status

from app.admin.schemas.webhooks import (
    DeliveryDetail,
    DeliveryPage,
    DeliveryQuery,
    DeliveryResponse,
    SecretRotation,
    WebhookCreate,
    WebhookList,
    WebhookResponse,
    WebhookUpdate,
    WebhookWithSecret,
)
from app.admin.webhooks import WebhookService
from app.core.webhook_secrets import WebhookSecrets
from app.http.authentication import AdminUser
from app.http.dependencies import RequestOriginDep, ResourcesDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/webhooks")


async def _get_webhook_service(
    resources: ResourcesDep, admin: AdminUser, transaction: SessionDep, origin: RequestOriginDep
) -> WebhookService:
    """Return the webhook service of the calling admin."""
    settings = resources.settings
    secrets = WebhookSecrets.from_secret(settings.secret_keys[0], settings.webhook_secrets, settings.secret_keys[1:])
    return WebhookService(transaction, secrets, admin, origin)


WebhookServiceDep = Annotated[WebhookService, Depends(_get_webhook_service)]


@router.post("", status_code=status.HTTP_201_CREATED, responses=responses(400, 409, 413, 422))
async def create_webhook(new: WebhookCreate, service: WebhookServiceDep) -> WebhookWithSecret:
    """Create an endpoint. Its secret is returned in this response only."""
    return await service.create(new)


@router.get("")
async def list_webhooks(service: WebhookServiceDep) -> WebhookList:
    """Return all endpoints, newest first."""
    return await service.list_all()


@router.get("/{webhook_id}", responses=responses(404, 422))
async def get_webhook(webhook_id: UUID, service: WebhookServiceDep) -> WebhookResponse:
    """Return an endpoint."""
    return await service.get(webhook_id)


@router.patch("/{webhook_id}", responses=responses(400, 404, 409, 413, 422))
async def change_webhook(webhook_id: UUID, update: WebhookUpdate, service: WebhookServiceDep) -> WebhookResponse:
    """Change an endpoint. Omitted fields are not changed. Enabling it resumes pending deliveries."""
    return await service.update(webhook_id, update)


# `response_class`: a response without content has no content type.
@router.delete(
    "/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    responses=responses(404, 422),
)
async def delete_webhook(webhook_id: UUID, service: WebhookServiceDep) -> None:
    """Delete an endpoint. Pending deliveries are discarded."""
    await service.delete(webhook_id)


@router.post("/{webhook_id}/secret", responses=responses(400, 404, 409, 413, 422))
async def rotate_webhook_secret(
    webhook_id: UUID, rotation: SecretRotation, service: WebhookServiceDep
) -> WebhookWithSecret:
    """Replace the secret of an endpoint, and return the new one once. Both sign during the grace period."""
    return await service.rotate_secret(webhook_id, rotation)


@router.post("/{webhook_id}/test", status_code=status.HTTP_202_ACCEPTED, responses=responses(404, 409, 422))
async def test_webhook(webhook_id: UUID, service: WebhookServiceDep) -> DeliveryResponse:
    """Send `webhook.test` to an endpoint, regardless of its subscriptions. A worker delivers it."""
    return await service.test(webhook_id)


@router.get("/{webhook_id}/deliveries", responses=responses(404, 422))
async def list_webhook_deliveries(
    webhook_id: UUID, query: Annotated[DeliveryQuery, Query()], service: WebhookServiceDep
) -> DeliveryPage:
    """Return the deliveries of an endpoint, newest first."""
    return await service.list_deliveries(webhook_id, query)


@router.get("/{webhook_id}/deliveries/{delivery_id}", responses=responses(404, 422))
async def get_webhook_delivery(webhook_id: UUID, delivery_id: UUID, service: WebhookServiceDep) -> DeliveryDetail:
    """Return a delivery with its payload and the log of its last attempts."""
    return await service.get_delivery(webhook_id, delivery_id)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=status.HTTP_202_ACCEPTED,
    responses=responses(404, 409, 422),
)
async def redeliver_webhook(webhook_id: UUID, delivery_id: UUID, service: WebhookServiceDep) -> DeliveryResponse:
    """Schedule another delivery of an event, with the same event id."""
    return await service.redeliver(webhook_id, delivery_id)
