"""``package.module:attribute`` becomes an object, or an error its operator can act on.

Whatever an import does wrong is told from the operator's side: a mistyped name gets its
neighbors (`suggestions`), a crash shows the operator's own frames and folds those of libraries
(`crash`). The original exception stays as ``__cause__``, so that a full traceback can be printed.
"""

from __future__ import annotations

from gateway.importer.crash import explain
from gateway.importer.django_settings import DjangoSettingsGuard
from gateway.importer.target import add_app_dir, import_app, import_object

__all__ = ["DjangoSettingsGuard", "add_app_dir", "explain", "import_app", "import_object"]
