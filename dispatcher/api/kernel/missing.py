"""Addresses of the API at which there is nothing."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from dispatcher.api.kernel.problems import MEDIA_TYPE, TYPE


@csrf_exempt
def missing(request: HttpRequest) -> HttpResponse:
    """404 as the other errors are; a missing slash is the most frequent reason."""
    detail = _("There is nothing at this address.")
    if not request.path.endswith("/"):
        detail = _("There is nothing at this address. Addresses of this API end with a slash.")
    body = {
        "type": TYPE + "not_found",
        "title": HTTPStatus.NOT_FOUND.phrase,
        "status": 404,
        "detail": detail,
        "code": "not_found",
    }
    return JsonResponse(body, status=404, content_type=MEDIA_TYPE)
