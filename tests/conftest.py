"""What all tests have in common: hypothesis measures no time. A machine that is busy is no failure."""

from hypothesis import HealthCheck, settings

# On top of what hypothesis takes by itself: where CI is set, the same histories in each run.
settings.register_profile(
    "heddle", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("heddle")
