"""The `notifications` section: who is told how a run has ended."""

from typing import Annotated, Literal

from pydantic import Field

from settings.section import Matching, Section

BlockName = Annotated[
    str,
    Matching(r"[a-z0-9-]+/[a-z0-9-]+", "must be the type and the name of a block, such as slack-webhook/mlops"),
]


class NotificationSettings(Section):
    """Messages through a notification block of Prefect; one that cannot be sent never fails a run."""

    block: BlockName | None = Field(
        None,
        description="The block, made in Prefect's UI, as type/name; null tells nobody.",
        examples=["slack-webhook/mlops"],
    )
    on: tuple[
        Literal[
            "Promoted", "NotPromoted", "Compared", "DataRejected", "NotApproved", "Restored", "RolledBack", "Failed"
        ],
        ...,
    ] = Field(
        ("Promoted", "NotPromoted", "DataRejected", "NotApproved", "Restored", "RolledBack", "Failed"),
        description="The outcomes that are told.",
        examples=[["RolledBack", "Failed"]],
    )
