"""Django settings of django-celery-beat's part: the product's defaults on the same services."""

import environ

env = environ.Env()

SECRET_KEY = env.str("SECRET_KEY")
DATABASES = {"default": env.db("DATABASE_URL")}
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL")
