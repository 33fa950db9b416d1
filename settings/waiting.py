"""The `waiting` section: how long we wait for Azure, and how often we ask again."""

from pydantic import Field

from settings.section import Section


class RetrySettings(Section):
    """What happens after a transient error (408, 429, 5xx, a broken connection)."""

    attempts: int = Field(
        4, ge=1, le=20, description="Times that a call is tried, the first one included.", examples=[4]
    )
    first_delay_seconds: float = Field(
        2.0, gt=0, le=300, description="Seconds before the second try; they grow from there.", examples=[2]
    )


class WaitingSettings(Section):
    """Deadlines, in minutes, of what waits on Azure."""

    compute_minutes: int = Field(30, ge=1, le=1440, description="Until a compute target is ready.", examples=[30])
    training_minutes: int = Field(720, ge=1, le=43200, description="Until the training run has ended.", examples=[720])
    profile_minutes: int = Field(60, ge=1, le=1440, description="Until the model is profiled.", examples=[60])
    service_minutes: int = Field(30, ge=1, le=1440, description="Until a service is healthy.", examples=[30])
    turn_minutes: int = Field(
        1560,  # two hours more than an approval has, for which the flow before may be waiting
        ge=1,
        le=43200,
        description="Until other flows that release to the same workspace have ended; those take turns.",
        examples=[1560],
    )
    retries: RetrySettings = Field(
        default_factory=RetrySettings, description="Transient errors.", examples=[{"attempts": 4}]
    )
