from __future__ import annotations

from pathlib import Path

from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse


def where(request):
    return JsonResponse(
        {
            "reverse": reverse("where"),
            "absolute": request.build_absolute_uri(),
            "path": request.path,
            "path_info": request.path_info,
            "kind": type(request).__name__,
            "secure": request.is_secure(),
        }
    )


def upload(request):
    return HttpResponse(str(len(request.FILES["file"].read())))


def file(request):
    return FileResponse(Path(__file__).open("rb"))


urlpatterns = [
    path("where/", where, name="where"),
    path("go/", lambda request: redirect("where")),
    path("upload/", upload),
    path("stream/", lambda request: StreamingHttpResponse(f"{n} " for n in range(3))),
    path("file/", file),
    path("trouble/", lambda request: 1 / 0),
]
