import asyncio
import time

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, Http404, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from .forms import EntryForm, UploadForm
from .models import Entry, Upload

# The other applications of gateway.toml: not Django's, so no reverse() knows them.
NEIGHBORS = [
    ("/flask/", "Flask", "WSGI: a list in the session, redirects, a stream, error pages"),
    ("/api/", "FastAPI", "ASGI 3: notes with OpenAPI docs, events, an upload, a chat"),
    ("/raw/", "A bare ASGI 3 callable", "no framework: what a server and an application say"),
    ("/legacy/", "An ASGI 2 double callable", "the older form, still served"),
]
LONGEST_COUNTDOWN = 60
PAUSE = 0.5  # seconds


@require_safe
def home(request):
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    return render(request, "guestbook/home.html", {"visits": visits, "neighbors": NEIGHBORS})


@require_http_methods(["GET", "HEAD", "POST"])
def guestbook(request):
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        entry = form.save()
        messages.success(request, f"Thank you, {entry.name}.")
        return redirect("guestbook")
    return render(
        request, "guestbook/guestbook.html", {"form": form, "entries": Entry.objects.all()[:50]}
    )


@login_required
@permission_required("guestbook.delete_entry", raise_exception=True)
@require_POST
def delete_entry(request, pk):
    get_object_or_404(Entry, pk=pk).delete()
    messages.success(request, "The entry is gone.")
    return redirect("guestbook")


@require_http_methods(["GET", "HEAD", "POST"])
def files(request):
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        Upload.objects.create(name=file.name, file=file, size=file.size)
        messages.success(request, f"{file.name} is stored.")
        return redirect("files")
    return render(
        request, "guestbook/files.html", {"form": form, "uploads": Upload.objects.all()[:50]}
    )


@require_safe
def download(_request, pk):
    # As an attachment: a browser that showed a visitor's HTML would run it in this site's name.
    # Under WSGI the server gets the open file (wsgi.file_wrapper) and need not read it in Python.
    upload = get_object_or_404(Upload, pk=pk)
    return FileResponse(upload.file.open(), as_attachment=True, filename=upload.name)


@require_safe
def countdown(request, start):
    if start > LONGEST_COUNTDOWN:
        raise Http404
    # A generator is sent as it runs, but each interface needs its own kind: under ASGI, Django
    # collects a synchronous one into a list before the first byte leaves.
    lines = count_down_async(start) if isinstance(request, ASGIRequest) else count_down(start)
    return StreamingHttpResponse(
        lines,
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def count_down(start):
    for number in range(start, 0, -1):
        yield f"{number}\n"
        time.sleep(PAUSE)
    yield "Liftoff!\n"


async def count_down_async(start):
    for number in range(start, 0, -1):
        yield f"{number}\n"
        await asyncio.sleep(PAUSE)
    yield "Liftoff!\n"
