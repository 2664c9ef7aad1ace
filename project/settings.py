"""Settings, read from the environment and from `.env` beside manage.py.

Safe by default: without `.env` this is a production configuration. `make run` writes a `.env` with
the relaxations that plain http on loopback needs.
"""

from importlib.util import find_spec
from pathlib import Path

import environ

from dispatcher.conf import SETTINGS as SCHEDULER_SETTINGS
from dispatcher.recommended import RECOMMENDED

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))  # another, or none (tests)

# Django -------------------------------------------------------------------------------------------

SECRET_KEY = env.str("SECRET_KEY")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "scheduling",
    "dispatcher",  # before the admin, into whose pages it puts a banner
    "dispatcher.api",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "import_export",  # may be left out: then the list has no import and export
    *env.list("EXTRA_APPS", default=[]),
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600  # seconds: what somebody chose stays chosen
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# https is assumed; `make run` switches this off for loopback.
SECURE_COOKIES = env.bool("SECURE_COOKIES", default=True)
SESSION_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE_COOKIES
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=SECURE_COOKIES)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^metrics$"]  # probes inside the cluster speak http
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if SECURE_COOKIES else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_COOKIES
SECURE_HSTS_PRELOAD = SECURE_COOKIES
if env.bool("BEHIND_PROXY", default=False):  # only where a proxy strips the header from clients
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Database -----------------------------------------------------------------------------------------

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
DATABASES["default"].setdefault("OPTIONS", {})
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"]["CONN_MAX_AGE"] = 60

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # One writer at a time: take the write lock when the transaction begins (IMMEDIATE), or two
    # readers that both want to write fail at once, whatever the timeout.
    DATABASES["default"]["OPTIONS"] |= {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
elif DATABASES["default"]["ENGINE"].endswith("mysql"):
    if find_spec("MySQLdb") is None:  # mysqlclient needs MySQL's headers; PyMySQL does not
        import pymysql

        pymysql.install_as_MySQLdb()
    # MySQL's default (REPEATABLE READ) would let a tick decide on rows that have changed since.
    DATABASES["default"]["OPTIONS"] |= {"isolation_level": "read committed", "charset": "utf8mb4"}

# Celery -------------------------------------------------------------------------------------------
# `dispatcher/recommended.py` has the reasons.

globals().update(RECOMMENDED)

CELERY_BROKER_URL = env.str(
    "CELERY_BROKER_URL", default=env.str("REDIS_URL", default="redis://localhost:6379/0")
)
CELERY_TIMEZONE = "UTC"

# Cache --------------------------------------------------------------------------------------------
# The API counts requests in it.

CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://")}

# E-mail -------------------------------------------------------------------------------------------
# Owners are told when a scheduled task starts failing, and when it works again.

EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")  # into the dispatcher's output
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10  # seconds: Django's default, none, would let a frozen mail server hang us
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="minutehand@localhost")
SITE_URL = env.str("SITE_URL", default="")

# Minutehand ---------------------------------------------------------------------------------------
# The list, with defaults, units and reasons, is dispatcher/conf.py.

for _setting in SCHEDULER_SETTINGS:
    globals()[_setting.name] = _setting.from_environment(env)
SCHEDULER_PUBLISH_IN_TESTS = 1  # the tests of this repository look at messages

# Logging ------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
