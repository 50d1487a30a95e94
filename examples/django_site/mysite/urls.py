from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.staticfiles.views import serve
from django.urls import include, path

urlpatterns = [
    path("", include("guestbook.urls")),
    path("login/", LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    # `runserver` serves static files by itself, other servers do not. This view does: with DEBUG on
    # or off ("insecure": also when off), at "/" or under a prefix, from WSGI and from ASGI.
    # StaticFilesHandler around the entry point would fail under a prefix, WhiteNoise is one more
    # dependency. A busy site runs `collectstatic` and has a proxy serve the result.
    path("static/<path:path>", serve, {"insecure": True}),
]
