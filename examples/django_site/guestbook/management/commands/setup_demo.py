from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from guestbook.models import Entry


class Command(BaseCommand):
    help = "Create the demo's database, a first entry and the user admin/admin. Safe to repeat."

    def handle(self, **_options):
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        call_command("migrate", interactive=False, verbosity=0)
        if not Entry.objects.exists():
            Entry.objects.create(name="gateway", message="Welcome! Leave a line below.")
        self.stdout.write(f"database ready: {settings.DATABASES['default']['NAME']}")
        self.create_admin()

    def create_admin(self):
        users = get_user_model().objects
        if users.filter(username="admin").exists():
            return
        if not settings.DEBUG:
            # A password that everybody knows has no place on a site meant for others.
            self.stdout.write("no admin user: DEBUG is off, use manage.py createsuperuser")
            return
        users.create_superuser("admin", password="admin")
        self.stdout.write("user created: admin, password admin (for the demo only)")
