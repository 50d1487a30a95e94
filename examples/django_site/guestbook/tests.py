"""``python manage.py test``: with DEBUG off, a database in memory and a temporary MEDIA_ROOT."""

# ruff: noqa: PT009 - unittest, as Django has it

import json
import tempfile
from io import StringIO

from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client, TestCase, override_settings
from django.urls import reverse
from mysite.asgi import application

from .models import Entry, Upload

IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


class HomeTests(TestCase):
    def test_counts_the_visits_of_a_session(self):
        for _ in range(2):
            self.client.get(reverse("home"))
        self.assertContains(self.client.get(reverse("home")), "<strong>3</strong>")

    def test_another_visitor_starts_at_one(self):
        self.client.get(reverse("home"))
        self.assertContains(Client().get(reverse("home")), "<strong>1</strong>")

    def test_links_to_its_neighbors(self):
        for url in ["/flask/", "/api/", "/raw/", "/legacy/"]:
            with self.subTest(url):
                self.assertContains(self.client.get(reverse("home")), f'href="{url}"')

    def test_style_sheets_are_served_with_debug_off(self):
        for path in ["guestbook/style.css", "admin/css/base.css"]:
            with self.subTest(path):
                response = self.client.get(f"/static/{path}")
                self.assertEqual(response["Content-Type"], "text/css")
                self.assertIn(b"{", b"".join(response))


class GuestbookTests(TestCase):
    url = "/guestbook/"

    def test_an_entry_is_stored_and_shown(self):
        entry = {"name": "Ann", "message": "A <b>fine</b> day"}
        response = self.client.post(self.url, entry, follow=True)
        self.assertRedirects(response, self.url)
        self.assertContains(response, "Thank you, Ann.")
        self.assertContains(response, "A &lt;b&gt;fine&lt;/b&gt; day")

    def test_an_empty_entry_is_refused(self):
        response = self.client.post(self.url, {"name": "", "message": ""})
        self.assertContains(response, "This field is required.", count=2)
        self.assertFalse(Entry.objects.exists())

    def test_an_entry_full_of_links_is_refused(self):
        entry = {"name": "Spam", "message": "https://a.example https://b.example"}
        self.assertContains(self.client.post(self.url, entry), "At most one link")
        self.assertFalse(Entry.objects.exists())

    def test_a_form_from_elsewhere_is_refused(self):
        client = Client(enforce_csrf_checks=True)
        response = client.post(self.url, {"name": "Eve", "message": "hi"})
        self.assertEqual(response.status_code, 403)
        self.assertFalse(Entry.objects.exists())

    def test_deleting_needs_a_login(self):
        entry = Entry.objects.create(name="Ann", message="hi")
        url = reverse("delete-entry", args=[entry.pk])
        self.assertRedirects(self.client.post(url), f"{reverse('login')}?next={url}")
        self.assertTrue(Entry.objects.exists())

    def test_deleting_needs_the_permission(self):
        entry = Entry.objects.create(name="Ann", message="hi")
        self.client.force_login(get_user_model().objects.create_user("bob"))
        response = self.client.post(reverse("delete-entry", args=[entry.pk]))
        self.assertEqual(response.status_code, 403)

    def test_an_admin_deletes_an_entry(self):
        entry = Entry.objects.create(name="Ann", message="hi")
        self.client.force_login(get_user_model().objects.create_superuser("root"))
        self.client.post(reverse("delete-entry", args=[entry.pk]))
        self.assertFalse(Entry.objects.exists())


class LiveGuestbookTests(TestCase):
    """A WebSocket as the application sees it; there is no server."""

    def setUp(self):
        # Makes a new one for each test: a layer belongs to an event loop, and so does a test.
        self.enterContext(override_settings(CHANNEL_LAYERS=IN_MEMORY))

    async def connect(self, origin="http://testserver"):
        """An open page, and the answer to its handshake."""
        cookies = self.client.cookies.output(header="", sep=";").strip()
        scope = {
            "type": "websocket",
            "path": "/ws/guestbook/",
            "query_string": b"",
            "headers": [(b"origin", origin.encode()), (b"cookie", cookies.encode())],
            "subprotocols": [],
        }
        page = ApplicationCommunicator(application, scope)
        await page.send_input({"type": "websocket.connect"})
        return page, await page.receive_output()

    async def send(self, page, fields):
        await page.send_input({"type": "websocket.receive", "text": json.dumps(fields)})

    async def receive(self, page):
        return json.loads((await page.receive_output())["text"])

    async def leave(self, page):
        await page.send_input({"type": "websocket.disconnect", "code": 1000})
        await page.wait()

    async def test_an_entry_is_shown_to_everybody(self):
        pages = [(await self.connect())[0] for _ in range(2)]
        for page in pages:
            self.assertEqual(await self.receive(page), {"user": ""})
        await self.send(pages[0], {"name": "Ann", "message": "A <b>fine</b> day"})
        self.assertEqual(await self.receive(pages[0]), {"signed": True})
        for page in pages:
            self.assertIn("A &lt;b&gt;fine&lt;/b&gt; day", (await self.receive(page))["entry"])
            await self.leave(page)
        self.assertEqual(await Entry.objects.acount(), 1)

    async def test_a_bad_entry_is_refused(self):
        page, _ = await self.connect()
        self.assertEqual(await self.receive(page), {"user": ""})
        await self.send(page, {"name": "Ann"})
        self.assertEqual(await self.receive(page), {"errors": ["This field is required."]})
        await self.leave(page)
        self.assertFalse(await Entry.objects.aexists())

    async def test_the_session_says_who_it_is(self):
        user = await get_user_model().objects.acreate_user("bob")
        await self.client.aforce_login(user)
        page, _ = await self.connect()
        self.assertEqual(await self.receive(page), {"user": "bob"})
        await self.leave(page)

    async def test_pages_of_other_sites_are_refused(self):
        _, answer = await self.connect(origin="https://evil.example")
        self.assertEqual(answer["type"], "websocket.close")


class FilesTests(TestCase):
    url = "/files/"

    def setUp(self):
        media = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(override_settings(MEDIA_ROOT=media))

    def upload(self, name="notes.txt", content=b"hello"):
        return self.client.post(self.url, {"file": SimpleUploadedFile(name, content)}, follow=True)

    def test_an_upload_comes_back_as_it_was(self):
        content = bytes(range(256))
        self.upload(content=content)
        response = self.client.get(reverse("download", args=[Upload.objects.get().pk]))
        self.assertEqual(b"".join(response), content)
        self.assertEqual(response["Content-Disposition"], 'attachment; filename="notes.txt"')

    def test_an_upload_is_listed(self):
        self.assertContains(self.upload(), "notes.txt")

    def test_the_name_on_disk_is_not_the_visitors(self):
        self.upload(name="../../evil.py")
        upload = Upload.objects.get()
        self.assertEqual(upload.name, "evil.py")
        self.assertRegex(upload.file.name, r"^uploads/[0-9a-f]{32}$")

    @override_settings(UPLOAD_MAX_SIZE=4)
    def test_too_large_a_file_is_refused(self):
        self.assertContains(self.upload(content=b"12345"), "The file is 5\xa0bytes; at most")
        self.assertFalse(Upload.objects.exists())

    def test_an_unknown_file_is_404(self):
        self.assertEqual(self.client.get(reverse("download", args=[7])).status_code, 404)


class CountdownTests(TestCase):
    def test_the_first_line_comes_before_the_last_is_made(self):
        response = self.client.get(reverse("countdown", args=[60]))
        self.assertTrue(response.streaming)
        self.assertEqual(next(response.streaming_content), b"60\n")

    async def test_it_streams_under_asgi_too(self):
        response = await self.async_client.get(reverse("countdown", args=[60]))
        self.assertTrue(response.is_async)
        self.assertEqual(await anext(aiter(response)), b"60\n")

    def test_it_ends(self):
        response = self.client.get(reverse("countdown", args=[0]))
        self.assertEqual(b"".join(response), b"Liftoff!\n")

    def test_it_does_not_start_from_anywhere(self):
        self.assertEqual(self.client.get(reverse("countdown", args=[61])).status_code, 404)


class AccountTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.admin = get_user_model().objects.create_superuser("admin", password="admin")

    def test_login_and_logout(self):
        user = {"username": "admin", "password": "admin"}
        response = self.client.post(reverse("login"), user, follow=True)
        self.assertContains(response, "Log out")
        response = self.client.post(reverse("logout"), follow=True)
        self.assertContains(response, "Log in")

    def test_a_wrong_password_is_told(self):
        response = self.client.post(reverse("login"), {"username": "admin", "password": "no"})
        self.assertContains(response, "Please enter a correct username and password")

    def test_the_admin_site_has_both_models(self):
        self.client.force_login(self.admin)
        response = self.client.get(reverse("admin:index"))
        self.assertContains(response, reverse("admin:guestbook_entry_changelist"))
        self.assertContains(response, reverse("admin:guestbook_upload_changelist"))


class SetupDemoTests(TestCase):
    def setup_demo(self):
        out = StringIO()
        call_command("setup_demo", stdout=out)
        return out.getvalue()

    @override_settings(DEBUG=True)
    def test_it_creates_the_user_once(self):
        self.assertIn("user created", self.setup_demo())
        self.assertNotIn("user created", self.setup_demo())
        self.assertTrue(self.client.login(username="admin", password="admin"))

    @override_settings(DEBUG=True)
    def test_it_writes_the_first_entry_once(self):
        self.setup_demo()
        self.setup_demo()
        self.assertEqual(Entry.objects.count(), 1)

    @override_settings(DEBUG=False)
    def test_no_known_password_with_debug_off(self):
        self.assertIn("createsuperuser", self.setup_demo())
        self.assertFalse(get_user_model().objects.exists())
